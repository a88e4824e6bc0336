"""The player: UCI, game session, clock, options and Monte Carlo tree search."""
