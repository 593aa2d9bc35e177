"""The main job shown on the models that ship, from nothing, through the real door."""
