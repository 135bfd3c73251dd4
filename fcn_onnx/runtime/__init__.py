"""A model that runs: sessions, labels, timing, and what this machine can do."""
