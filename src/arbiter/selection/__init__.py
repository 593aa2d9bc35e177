"""WHO serves a request: filter, score, pick, explain. All pure."""
