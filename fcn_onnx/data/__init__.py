"""Data: images from untrusted files, data sets with truth, which of their images, and how they become inputs."""
