"""Programs that drive the production code over data: what would have been, and what if."""
