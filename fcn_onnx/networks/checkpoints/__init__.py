"""Checkpoints of four frameworks: `reading` has the table, and each format has a file."""
