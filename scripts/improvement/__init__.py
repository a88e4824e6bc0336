"""The parts of improve.py."""
