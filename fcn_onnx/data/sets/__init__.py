"""Data sets, a file each, and what finds the one that a folder is."""
