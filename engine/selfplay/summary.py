"""What the games of self-play in a folder are like: in words, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dejavu.engine.selfplay.resignation import Check, Resignation, SearchedGame, check, searched_games
from dejavu.model.data.shards import Shards, open_data
from dejavu.retrieval.atomic import atomic_write

THRESHOLDS = (0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Resignation values that the picture compares."""


def summarise(folder: Path, rule: Resignation | None, plot: Path) -> str:
    """Describe the games of a folder, which were played with `rule`, and draw them. Raises DatasetError."""
    dataset = open_data([folder])
    games = searched_games(dataset)
    first = np.flatnonzero(np.diff(dataset.game, prepend=-1))
    lengths = np.diff([*first.tolist(), len(dataset)])
    decisive = sum(game.results[0] != 0 for game in games)
    shares = np.diff(dataset.searches.offsets)
    megabytes = sum(path.stat().st_size for path in Shards(folder).paths()) / 1e6
    lines = [
        f"{len(games):,} games, {len(dataset):,} positions, {lengths.mean():.0f} a game (longest {lengths.max()}); "
        f"{decisive / len(games):.0%} decided",
        f"{shares.mean():.1f} moves visited a position, {megabytes:.1f} MB",
    ]
    if rule is not None:
        lines.append(f"resignation at {rule.value:g} for {rule.moves} moves: {check_line(check(games, rule))}")
    draw(lengths.tolist(), games, rule or Resignation(), plot)
    return "\n".join([*lines, f"wrote {plot}"])


def check_line(found: Check) -> str:
    """A check of the resignation rule in words."""
    line = f"{found.ended} of {found.games} games ended by it, {found.played_on} were played on"
    if found.played_on:
        line += (
            f", of which it would have been wrong in {found.false_positives:.1%} ({found.won} won, {found.drawn} drawn)"
        )
    return line


def draw(lengths: Sequence[int], games: Sequence[SearchedGame], rule: Resignation, path: Path) -> None:
    """How long games are, and how often resignation at other values would have been wrong."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    left.hist(lengths, bins=30)
    left.set(xlabel="positions a game", ylabel="games")
    checks = [check(games, replace(rule, value=value)) for value in THRESHOLDS]
    right.plot(THRESHOLDS, [found.false_positives for found in checks], "o-")
    for value, found in zip(THRESHOLDS, checks, strict=True):
        if found.played_on:
            right.annotate(
                f"{found.won + found.drawn} of {found.played_on}", (value, found.false_positives), fontsize=8
            )
    right.set(xlabel="resignation value", ylabel="share of games not lost", ylim=(-0.02, None))
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.tight_layout()
    with atomic_write(path) as file:
        figure.savefig(file, dpi=90, format="png")
    plt.close(figure)
