"""Monte Carlo tree search: the tree, its phases, when it stops and what it tells."""
