"""WHAT THIS MACHINE IS: its parts, and what their counters say."""
