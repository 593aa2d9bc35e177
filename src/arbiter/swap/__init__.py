"""The journey of a swap: validation, compatibility, rollout, analysis, controller."""
