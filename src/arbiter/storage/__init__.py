"""What is kept: one database, one writer, named queries, numbered migrations."""
