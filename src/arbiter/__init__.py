"""Arbiter: one door in front of every model that you run yourself."""
