"""WHAT EXISTS: versions by content, the names that point at them, and their lineage."""
