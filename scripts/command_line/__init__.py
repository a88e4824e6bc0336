"""What the command lines of several scripts have in common."""
