"""WHAT WE LEARNED: tasks, rules, outcomes and the profiles that they add up to. Knows no model."""
