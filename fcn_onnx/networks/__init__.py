"""Torch networks: how they are built, loaded, traced and compared. The only room that imports torch."""
