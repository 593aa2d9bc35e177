"""HOW: the protocols of an engine, and the engines that ship."""
