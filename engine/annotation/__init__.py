"""Games and positions with a stronger engine's evaluations and best moves, to train on and to remember."""
