"""The memory: the embedding file, nearest neighbours and offline building."""
