"""Info lines of a search: what they say, and when one is due."""

from __future__ import annotations

import time
from collections.abc import Callable

import chess

from dejavu.engine.options import Config
from dejavu.engine.search.evaluator import EvaluationCache
from dejavu.engine.search.lines import Info, ranked_edges, variations
from dejavu.engine.search.proofs import Proofs
from dejavu.engine.search.stoppers import SearchState
from dejavu.engine.search.tablebase import Tablebases
from dejavu.engine.search.tree import NO_NODE, Tree

REPORT_SECONDS = 1.0
"""An info line at least this often ..."""

QUIET_SECONDS = 0.1
"""... and at most this often."""


class Reporter:
    """Sends the info lines of one search, which begins when this is made."""

    def __init__(
        self,
        config: Config,
        cache: EvaluationCache,
        tablebases: Tablebases,
        proofs: Proofs,
        send: Callable[[Info], None],
    ) -> None:
        self._config = config
        self._cache = cache
        self._tablebases = tablebases
        self._proofs = proofs
        self._tablebase_hits = tablebases.hits
        self._send = send
        self.depth_sum = 0
        """Of all visits."""
        self._selective_depth = 0
        self._reported_at = time.perf_counter()
        self._reported = (0, NO_NODE)
        """Depth and best root move of the latest info line."""

    def count(self, depth: int) -> None:
        """A visit `depth` plies below the root."""
        self.depth_sum += depth
        self._selective_depth = max(self._selective_depth, depth)

    def must_be_quiet(self) -> bool:
        """Whether the latest line is too recent for another."""
        return time.perf_counter() - self._reported_at < QUIET_SECONDS

    def is_due(self, progress: SearchState, best_child: int) -> bool:
        """Whether there is news, or has been silence for long."""
        since = time.perf_counter() - self._reported_at
        return since >= REPORT_SECONDS or self._reported != (_depth(progress), best_child)

    def send(
        self,
        tree: Tree,
        root: int,
        board: chess.Board,
        progress: SearchState,
        best_child: int,
        move_stats: tuple[str, ...],
        chosen: int | None,
    ) -> Info:
        """Report the best moves of `root`, where `board` is; an index among its edges that was chosen comes first."""
        config = self._config
        indices = ranked_edges(tree, root, config.draw_score, config.multi_pv)
        if chosen is not None:
            indices = [chosen, *(index for index in indices if index != chosen)]
        indices = indices[: config.multi_pv]
        used = tree.bytes + len(self._cache) * self._cache.ENTRY_BYTES
        info = Info(
            depth=_depth(progress),
            selective_depth=max(1, self._selective_depth),
            milliseconds=int(progress.searching * 1000),
            nodes=progress.nodes,
            nodes_per_second=int(progress.playouts / max(progress.searching, 1e-3)),
            hash_permille=min(1000, 1000 * used // (config.hash_megabytes * 2**20)),
            tablebase_hits=self._tablebases.hits - self._tablebase_hits,
            lines=tuple(variations(tree, root, board, indices, config, self._proofs)),
            move_stats=move_stats,
        )
        self._reported_at = time.perf_counter()
        self._reported = info.depth, best_child
        self._send(info)
        return info


def _depth(progress: SearchState) -> int:
    """Average depth of the visits, which is at least 1 for people."""
    return max(1, int(progress.depth))
