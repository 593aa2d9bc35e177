"""WHAT IT COST: readings of processes, shared out among requests."""
