"""What runs in a child process: the standard library and one engine package, nothing of arbiter."""
