"""What a `go` command asks for, with the options that bear on it, as a search's task."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import chess

from dejavu.engine.options import Config
from dejavu.engine.search.clock import Budget, budget
from dejavu.engine.search.endings import Endings
from dejavu.engine.search.game import Game
from dejavu.engine.search.limits import Limits
from dejavu.engine.search.noise import RootNoise
from dejavu.engine.search.proofs import Proofs
from dejavu.engine.search.stoppers import (
    DepthStopper,
    MateStopper,
    NodesStopper,
    ProvenStopper,
    SmartPruningStopper,
    Stopper,
    TimeStopper,
)
from dejavu.engine.search.strength import Strength, strength
from dejavu.engine.search.tablebase import Tablebases
from dejavu.engine.search.task import Task
from dejavu.engine.search.temperature import RandomChoice, decayed
from dejavu.engine.search.tree import Tree

TREE_SHARE = 0.65
"""Part of Hash for the tree; the session's cache of evaluations has another."""


def searchmoves(board: chess.Board, limits: Limits, legal: Sequence[chess.Move]) -> tuple[list[chess.Move], list[str]]:
    """Those of the `legal` moves that `searchmoves` names, in their order, and what it names beside them."""
    moves, illegal = [], []
    for text in limits.searchmoves:
        try:
            moves.append(board.parse_uci(text))
        except ValueError:
            illegal.append(text)
    return [move for move in legal if move in moves], illegal


def moves_to_choose_from(
    board: chess.Board,
    limits: Limits,
    legal: list[chess.Move],
    endings: Endings,
    tablebases: Tablebases,
    say: Callable[[str], None],
) -> list[chess.Move]:
    """The moves of `searchmoves`, else those that solved endings or tables keep, else all."""
    wanted, illegal = searchmoves(board, limits, legal)
    if illegal:
        say(f"searchmoves: not legal here: {' '.join(illegal)}")
    if wanted:
        return wanted
    endings.prepare(board)
    return endings.best_moves(board) or tablebases.root_moves(board) or legal


def make_task(
    game: Game,
    limits: Limits,
    config: Config,
    tree: Tree,
    root: int,
    root_moves: Sequence[chess.Move],
    tablebases: Tablebases,
    proofs: Proofs,
    generator: random.Random,
) -> Task:
    """The search of `game` in `tree` from `root` on.

    `generator` draws the move and the noise where the options ask for them. A search that is to err gets no `proofs`.
    """
    board = game.board
    wanted = strength(config.elo) if config.limit_strength else None
    node_limits = [limit for limit in (limits.nodes, config.node_limit or None) if limit is not None]
    if wanted is not None:
        node_limits.append(wanted.nodes)
    node_limit = max(1, min(node_limits)) if node_limits else None
    time = None
    if not limits.infinite:
        white = board.turn == chess.WHITE
        time = budget(limits, white, config.move_overhead, only_move=len(root_moves) == 1)
    unlimited = node_limit is None and time is None and limits.depth is None and limits.mate is None
    analysis = limits.mate is None and (time is None or not time.on_clock)
    noisy = config.noise_epsilon > 0
    choice = _choice(board, config, wanted, tablebases, generator)
    return Task(
        tree=tree,
        root=root,
        board=board,
        history=game.history,
        root_moves=root_moves,
        node_limit=node_limit,
        tree_bytes=int(config.hash_megabytes * 2**20 * TREE_SHARE),
        stoppers=_stoppers(limits, config, node_limit, time),
        wait_for_stop=limits.infinite or unlimited,
        choice=choice,
        noise=RootNoise(config.noise_epsilon, config.noise_alpha, generator) if noisy else None,
        lines=config.multi_pv if analysis else 1,
        proofs=proofs if wanted is None and choice is None else {},
    )


def _choice(
    board: chess.Board, config: Config, wanted: Strength | None, tablebases: Tablebases, generator: random.Random
) -> RandomChoice | None:
    """How to draw the move, or None to play the best: also where the tablebases know it."""
    temperature = decayed(config.temperature, config.temperature_decay_moves, board.fullmove_number - 1)
    if wanted is not None:
        temperature = max(temperature, wanted.temperature)
    if temperature == 0 or tablebases.root_moves(board):
        return None
    return RandomChoice(temperature, generator)


def _stoppers(limits: Limits, config: Config, node_limit: int | None, time: Budget | None) -> list[Stopper]:
    stoppers: list[Stopper] = [ProvenStopper()]
    if node_limit is not None:
        stoppers.append(NodesStopper(node_limit))
    if limits.depth is not None:
        stoppers.append(DepthStopper(max(1, limits.depth)))
    if limits.mate is not None:
        stoppers.append(MateStopper(max(1, limits.mate)))
    if time is not None:
        stoppers.append(TimeStopper(time))
        if time.on_clock and config.smart_pruning_factor > 0:
            stoppers.append(SmartPruningStopper(time, config.smart_pruning_factor))
    return stoppers
