"""The parts of bench.py: one module for each bench, with a function `bench` that prints and returns its numbers."""
