"""Who published which networks: a file an origin, its architectures and how its checkpoints look. Needs no torch."""
