"""Data set, losses, loop and checkpoints of training."""
