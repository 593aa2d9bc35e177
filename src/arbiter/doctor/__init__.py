"""`arbiter doctor`: what is wrong here, what is missing, and the command that mends it."""
