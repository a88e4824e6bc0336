"""Data sets of positions, from game files and back."""
