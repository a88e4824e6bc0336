"""What the memory remembers, told to people: similar positions, whole games."""
