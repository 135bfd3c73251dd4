"""Files that a bundle gets as they are; nothing of the package imports them, and they import nothing of it."""
