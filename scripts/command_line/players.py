"""Engines as the command line describes them."""

from __future__ import annotations

from dejavu.engine.match.players import PlayerSettings, parse_player

LIMITS = ("tc=", "st=", "movetime=", "nodes=", "depth=")


def limited_player(words: list[str], each: list[str], nodes: int) -> PlayerSettings:
    """An engine as it is described, with so many nodes where nothing limits it. Raises PlayerError."""
    limited = any(word.startswith(LIMITS) for word in [*each, *words])
    return parse_player(words, each if limited else [f"nodes={nodes}", *each])
