"""A network as a machine that takes frames as they come and keeps only what it still needs."""
