"""The journey of a request: `arbiter.dispatch.dispatch` has it from top to bottom."""
