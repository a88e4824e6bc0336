"""Chess as arrays: packed positions, attacks, legal moves, mates and the network's features."""
