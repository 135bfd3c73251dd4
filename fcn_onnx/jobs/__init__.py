"""How long work is done and kept: tasks and executors, progress, artifacts, journals."""
