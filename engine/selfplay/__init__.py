"""Games of the engine with itself, from which networks are trained."""
