"""WHERE it runs: instances, each with one writer, and which of them stay in memory."""
