"""How well a network knows held-out games."""
