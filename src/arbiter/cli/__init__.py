"""The command line: thin over the control API, one file a group of commands."""
