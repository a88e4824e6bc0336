"""How moves are numbered, as far as a memory has to know; what the numbers mean is told in model/chess/encoding.py."""

POLICY_SIZE = 4168
"""Policy indices are 0 to POLICY_SIZE - 1."""
NO_MOVE = 65535
"""Stands for no move, or an unknown one."""
CONTINUATION_PLIES = 8
"""Plies that a memory keeps of how a game went on."""
