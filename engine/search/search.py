"""Monte Carlo tree search in numbered phases, after AlphaZero and lc0.

    1 gather     walk down by PUCT to a minibatch of leaves, each walk leaving virtual visits behind
    2 expand     leaves known by the rules, the tablebases, earlier proofs or the cache are finished at once
    3 evaluate   the network evaluates the rest together
    4 back up    values go up to the root, virtual visits are taken back
    5 report     info lines; a stopper may end the search

While the network evaluates one minibatch, the next is gathered. The formulas are lc0's: PUCT with cpuct growing with
visits, first-play urgency by reduction, softmax temperature, collisions.

`Search.run` does all of it. Many searches can also share one evaluator: whoever drives them calls `gather`, evaluates
the leaves, and hands the answers to `settle`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from dejavu.engine.options import Config
from dejavu.engine.search.clock import BatchPace
from dejavu.engine.search.endings import Endings
from dejavu.engine.search.evaluator import EvaluationCache, Evaluator, Expansion, expansions
from dejavu.engine.search.known_results import KnownResults
from dejavu.engine.search.lines import BestMove, Info, mate_in, value
from dejavu.engine.search.move_stats import move_stats
from dejavu.engine.search.puct import exploration, first_play_urgency
from dejavu.engine.search.reporting import Reporter
from dejavu.engine.search.root import KnownWin, give_back_priors, of_root_moves, prepare_root
from dejavu.engine.search.stoppers import SearchState, first_reason
from dejavu.engine.search.tablebase import Tablebases
from dejavu.engine.search.task import Signals, Task
from dejavu.engine.search.tree import DRAWN, LOST, NO_NODE, UNPROVEN, WON
from dejavu.model.chess.encoding import Packed, clock_byte, stack, unpack
from dejavu.model.chess.play import play

MAX_COLLISIONS = 32
"""Walks of one minibatch that may end at a leaf already waiting (lc0's collision limit)."""

MAX_FINISHED = 64
"""Walks of one gathering that may end without the network, so that stoppers are asked often enough."""

YOUNG_BATCH = 8
"""Leaves that a minibatch may have in any tree."""

YOUNG_SHARE = 1 / 8
"""Of a tree's visits: larger minibatches only up to this. At equal time the moves are better than with
minibatches that are full as soon as they do no more than double the tree (docs/history/search.md)."""

OVERLAP_BATCHES = 16
"""A tree of so many minibatches is old enough that the next is gathered before the last has been evaluated."""

SLOW_SLICE_SECONDS = 0.005
"""How long a search held back by NodesPerSecondLimit waits before it looks at its clock again."""


class Leaf(NamedTuple):
    """A node that waits for the network."""

    node: int
    depth: int
    key: Packed
    clock: int


class Minibatch(NamedTuple):
    """What one gathering found."""

    leaves: list[Leaf]
    collisions: dict[int, int]
    """Nodes where walks ended that waited already, and how many: their virtual visits are taken back with the
    leaves'."""


class Search:
    """Runs one `Task`. The tree keeps what was learned, for the next move."""

    def __init__(
        self,
        task: Task,
        evaluator: Evaluator,
        cache: EvaluationCache,
        tablebases: Tablebases,
        endings: Endings,
        config: Config,
        pace: BatchPace,
        signals: Signals,
        report: Callable[[Info], None],
        say: Callable[[str], None],
    ) -> None:
        """`report` gets the info lines, `say` the rare sentences for the user."""
        self.task = task
        self.tree = task.tree
        self.root = task.root
        self.evaluator = evaluator
        self.cache = cache
        self.known = KnownResults(task, tablebases, endings)
        self.config = config
        self.pace = pace
        self.signals = signals
        self.reporter = Reporter(config, cache, tablebases, task.proofs, report)
        self.say = say
        self.progress = SearchState()
        self._waiting = 0
        """Leaves that have been gathered and not settled."""
        self._root_board = task.board
        self._began = time.perf_counter()
        self._best_child = NO_NODE
        self._known_win: KnownWin | None = None
        if self.tree.first_edge[self.root] >= 0:
            self._known_win = prepare_root(self.task, self.root, self.known, self.config)

    def run(self) -> BestMove:
        """Search until a stopper or `stop` ends it, and answer; blocks as long as UCI forbids an answer."""
        with ThreadPoolExecutor(1, "evaluate") as worker:
            reason = self._search(worker)
        if self.signals.must_wait(self.task.wait_for_stop):
            self._send_report(self.config.log_live_stats)
            self.signals.wait_until_answer_is_allowed(self.task.wait_for_stop)
        return self.answer(reason)

    def _search(self, worker: Executor) -> str:
        """Minibatch after minibatch; why it ended. `worker` has one thread: it evaluates one minibatch at a time."""
        pending: tuple[Minibatch, Future[list[Expansion]]] | None = None
        began = time.perf_counter()
        while (reason := self.reason_to_stop()) is None:
            if self._allowance() < 1:
                if pending is not None:
                    self.settle(pending[0], pending[1].result())
                    pending = None
                self.signals.stop.wait(SLOW_SLICE_SECONDS)
                began = time.perf_counter()
                self._report_if_new()
                continue
            batch = self.gather()
            answers = worker.submit(self._evaluate_unless_stopped, batch.leaves)
            if pending is not None:
                self.settle(pending[0], pending[1].result())
            pending = batch, answers
            if not self._may_overlap():
                self.settle(batch, answers.result())
                pending = None
            now = time.perf_counter()
            self.pace.measured(len(batch.leaves), now - began)
            began = now
            self._report_if_new()
        if pending is not None:
            self.settle(pending[0], pending[1].result())
        if reason == "time" and not self.progress.playouts:
            self.pace.unsearched()
        return reason

    def reason_to_stop(self) -> str | None:
        """Why the search should end now, in a word; None to go on."""
        if self.tree.first_edge[self.root] < 0:
            return None
        if self.signals.stop.is_set():
            return "stop"
        self._refresh_progress()
        return first_reason(self.task.stoppers, self.progress)

    @property
    def has_answer(self) -> bool:
        """Whether the root has been evaluated."""
        return self.tree.visits[self.root] > 0

    def answer(self, reason: str) -> BestMove:
        """The move to play, after the info line that names it: the best so far, one known to win, or one drawn."""
        choice = self.task.choice
        chosen = self._winning_edge() if choice is None else choice.edge_index(self.tree, self.root, self._root_board)
        statistics = self.config.verbose_move_stats or self.config.log_live_stats
        moves = self._send_report(statistics, chosen).lines[0].moves
        return BestMove(moves[0], moves[1] if len(moves) > 1 else None, reason)

    def _winning_edge(self) -> int | None:
        """The index among the root's edges of a move known to win, as long as the tree has not proven one."""
        tree, root = self.tree, self.root
        if self._known_win is None or tree.proof[root]:
            return None
        return tree.moves(root).index(self._known_win.move)

    # Phases 1 to 4

    def gather(self) -> Minibatch:
        """Phases 1 and 2: leaves for the network. Each minibatch must be settled, the oldest first."""
        if self.tree.first_edge[self.root] < 0:
            leaves = [self._gather_root()]
            collisions: dict[int, int] = {}
        else:
            leaves, collisions = self._gather(self._next_batch_size())
        self._waiting += len(leaves)
        return Minibatch(leaves, collisions)

    def settle(self, batch: Minibatch, answers: Sequence[Expansion]) -> None:
        """Phase 4 for a minibatch and the network's answers to its leaves; without answers they stay unvisited."""
        tree, root = self.tree, self.root
        for leaf, expansion in zip(batch.leaves, answers, strict=False):
            self.cache.put((leaf.key, leaf.clock), expansion)
            if leaf.node == root:
                expansion = of_root_moves(expansion, self.task)
            self._expand(leaf.node, leaf.depth, expansion)
            if leaf.node == root and not expansion.mates:
                self._known_win = prepare_root(self.task, root, self.known, self.config)
        for leaf in batch.leaves:
            tree.add_in_flight(leaf.node, root, -1)
        for node, walks in batch.collisions.items():
            tree.add_in_flight(node, root, -walks)
        self._waiting -= len(batch.leaves)
        if tree.bytes >= self.task.tree_bytes and not self._waiting:
            self.root = tree.prune(root, self.task.tree_bytes // 2)

    def evaluate(self, leaves: Sequence[Leaf]) -> list[Expansion]:
        """Phase 3: the network's answers."""
        if not leaves:
            return []
        number_of: dict[tuple[Packed, int], int] = {}  # a position may be met twice
        numbers = [number_of.setdefault((leaf.key, leaf.clock), len(number_of)) for leaf in leaves]
        planes = stack([key for key, _ in number_of])
        clocks = np.array([clock for _, clock in number_of], np.uint8)
        answers = self.evaluator.evaluate(planes, clocks, self.config.use_memory)
        found = expansions(answers, self.config.policy_temperature)
        return [found[number] for number in numbers]

    def _evaluate_unless_stopped(self, leaves: Sequence[Leaf]) -> list[Expansion]:
        """`evaluate`, but a minibatch that `stop` overtakes in the queue is given up: nobody waits for two."""
        return [] if self.signals.stop.is_set() and self.has_answer else self.evaluate(leaves)

    def _gather_root(self) -> Leaf:
        tree, root = self.tree, self.root
        tree.add_in_flight(root, root, 1)
        return Leaf(root, 0, tree.key[root], self._clock_byte(root))

    def _clock_byte(self, node: int) -> int:
        """The half-move clock of a node, and whether its position stood in the game before."""
        key, clock = self.tree.key[node], self.tree.clock[node]
        return clock_byte(clock, self.known.stood_in_game(node, self.root, key, clock))

    def _may_overlap(self) -> bool:
        """Whether to gather while a minibatch is being evaluated.

        Walks that do not know yet what the minibatch before them finds are wasted on a young tree, a tree that is to be
        pruned must have no visit under way, and minibatches of one ask for one walk at a time.
        """
        tree, size = self.tree, self.config.minibatch_size
        return size > 1 and tree.visits[self.root] >= OVERLAP_BATCHES * size and tree.bytes < self.task.tree_bytes

    def _allowance(self) -> float:
        """Visits that NodesPerSecondLimit leaves for now; the first is free, since there must be an answer."""
        limit = self.config.nodes_per_second_limit
        if limit == 0:
            return math.inf
        return 1 + limit * (time.perf_counter() - self._began) - self.progress.playouts - self._waiting

    def _next_batch_size(self) -> int:
        visits = self.tree.visits[self.root]
        # A young tree knows too little to send many walks at once.
        grown = int(visits * YOUNG_SHARE) // YOUNG_BATCH * YOUNG_BATCH  # which the network computes without filling up
        size = min(self.config.minibatch_size, max(1, visits), max(YOUNG_BATCH, grown))
        size = int(max(1, min(size, self._allowance())))
        if self.task.node_limit is not None:
            size = min(size, self.task.node_limit - visits - self._waiting)
        return size

    def _gather(self, size: int) -> tuple[list[Leaf], dict[int, int]]:
        """Up to `size` leaves for the network, and the nodes of walks that collided.

        A walk that ends where others of this minibatch have collided counts for as many as these: one after the other
        they would mostly go the same way, until there are enough of them (lc0 foresees how many).
        """
        tree, root, signals = self.tree, self.root, self.signals
        limit = self.task.node_limit
        if tree.proof[root] and self._known_win is not None:
            give_back_priors(self.task, root, self._known_win)
            self._known_win = None
        leaves: list[Leaf] = []
        collisions: dict[int, int] = {}
        collided = finished = 0
        while len(leaves) < size and collided < MAX_COLLISIONS and finished < MAX_FINISHED:
            if self._is_solved() or signals.stop.is_set():
                break
            if limit is not None and tree.visits[root] + self._waiting + len(leaves) >= limit:
                break
            node, depth = self._select()
            if tree.in_flight[node]:
                walks = min(collisions.get(node, 1), MAX_COLLISIONS - collided)
                tree.add_in_flight(node, root, walks)
                collisions[node] = collisions.get(node, 0) + walks
                collided += walks
                continue
            leaf = self._finish_if_known(node, depth)
            if leaf is None:
                finished += 1
            else:
                tree.add_in_flight(node, root, 1)
                leaves.append(leaf)
        return leaves, collisions

    def _is_solved(self) -> bool:
        """Whether the root is proven and has as many winning moves as lines are asked for, or nothing else to find."""
        tree, root, lines = self.tree, self.root, self.task.lines
        if lines == 1 or not tree.proof[root]:
            return tree.proof[root] != UNPROVEN
        proofs = [tree.proof[child] for child in tree.children[root]]
        return proofs.count(WON) >= lines or len(proofs) - proofs.count(UNPROVEN) == tree.edge_count[root]

    def _select(self) -> tuple[int, int]:
        """Phase 1, one walk: the node it ends at, which is proven or has no edges, and its depth.

        PUCT: the child with the largest Q + cpuct P sqrt(N of the parent) / (1 + N + visits under way). To Q
        comes DrawScore times the probability of a draw; its sign changes with the side to move. At a proven root only
        what is not proven is left to look at: the other lines.
        """
        tree, config = self.tree, self.config
        visits, in_flight, value_sum = tree.visits, tree.in_flight, tree.value_sum
        prior, proof, children_of = tree.prior, tree.proof, tree.children
        draw_sum, draw_score = tree.draw_sum, config.draw_score
        node, depth = self.root, 0
        passed_over = WON if proof[node] else LOST  # this and those behind it in the order of the results
        while True:
            parent_visits = visits[node]
            children = children_of[node]
            u_factor = exploration(parent_visits, config)
            urgency = first_play_urgency(-value_sum[node] / parent_visits, tree.visited_policy[node], config)
            if draw_score:
                urgency += draw_score * draw_sum[node] / parent_visits
            best, best_score = NO_NODE, -math.inf
            for child in children:
                if proof[child] >= passed_over:
                    continue
                n = visits[child]
                q = value_sum[child] / n if n else urgency
                if draw_score and n:
                    q += draw_score * draw_sum[child] / n
                score = q + u_factor * prior[child] / (1 + n + in_flight[child])
                if score > best_score:
                    best, best_score = child, score
            depth += 1
            if len(children) < tree.edge_count[node]:
                edge = tree.first_edge[node] + len(children)
                if urgency + u_factor * tree.edge_prior[edge] > best_score:
                    return self._add_child(node), depth
            node, passed_over = best, LOST
            draw_score = -draw_score
            if proof[node] or tree.first_edge[node] < 0:
                return node, depth

    def _add_child(self, node: int) -> int:
        """Make the node behind the next unvisited edge."""
        tree = self.tree
        key, starts_clock = play(tree.key[node], tree.next_move(node))
        return tree.add_child(node, key, 0 if starts_clock else tree.clock[node] + 1)

    def _finish_if_known(self, node: int, depth: int) -> Leaf | None:
        """Phase 2: back the walk up at once if no network is needed, else say what to evaluate."""
        tree, root = self.tree, self.root
        if not tree.proof[node] and not tree.visits[node]:
            known = self.known.result(node, root)
            if known is not None:
                tree.prove(node, root, *known)
        if tree.proof[node]:
            self._count(node, depth, 0.0, 0.0)
            return None
        key, clock = tree.key[node], self._clock_byte(node)
        cached = self.cache.get((key, clock))
        if cached is None:
            return Leaf(node, depth, key, clock)
        self._expand(node, depth, cached)
        return None

    def _expand(self, node: int, depth: int, expansion: Expansion) -> None:
        """Phases 2 and 4 for an evaluated leaf: give it its edges, or its result if it has none."""
        tree = self.tree
        if expansion.moves:
            tree.expand(node, expansion)
        else:
            checkmate = unpack(tree.key[node]).is_check()
            tree.prove(node, self.root, *((WON, 0) if checkmate else (DRAWN, 0)))
        self._count(node, depth, -expansion.value, expansion.draw)
        limit, root = self.task.node_limit, self.root
        if expansion.mates and (limit is None or tree.visits[root] + tree.in_flight[root] < limit):
            mate = self._add_child(node)
            tree.prove(mate, root, WON, 0)
            self._count(mate, depth + 1, 0.0, 0.0)

    def _count(self, node: int, depth: int, value: float, draw: float) -> None:
        """Phase 4: one visit. The value of a proven node is the tree's affair."""
        self.tree.back_up(node, self.root, value, draw)
        self.progress.playouts += 1
        self.reporter.count(depth)

    # Phase 5

    def _refresh_progress(self) -> None:
        tree, root, progress, draw_score = self.tree, self.root, self.progress, self.config.draw_score
        progress.pondering = self.signals.pondering  # before the clock, which `ponderhit` sets first
        now = time.perf_counter()
        progress.nodes = tree.visits[root]
        progress.elapsed = now - self.signals.started
        progress.searching = now - self._began
        progress.depth = self.reporter.depth_sum / max(progress.playouts, 1)
        batches = 2 if self._may_overlap() else 1
        progress.batch_seconds = batches * self.pace.expected(self._next_batch_size())
        progress.proven = self._is_solved()
        children = tree.ranked_children(root, draw_score)
        self._best_child = children[0] if children else NO_NODE
        progress.mate_in = mate_in(tree, children[0]) if children else None
        counts = [tree.visits[child] for child in children if tree.proof[child] != LOST]
        progress.open_moves = tree.edge_count[root] - (len(children) - len(counts))
        progress.best_visits = counts[0] if counts else 0
        progress.second_visits = max(counts[1:], default=0)
        progress.best_has_best_value = not children or children[0] == max(
            children, key=lambda child: value(tree, child, draw_score)
        )

    def _report_if_new(self) -> None:
        if self.reporter.must_be_quiet():
            return
        self._refresh_progress()
        if self.reporter.is_due(self.progress, self._best_child):
            self._send_report(self.config.log_live_stats)

    def _send_report(self, statistics: bool, chosen: int | None = None) -> Info:
        """Report the best moves; one that was chosen otherwise, an index among the root's edges, comes before them.

        With `statistics`, report what is known of every root move, too.
        """
        self._refresh_progress()
        tree, root, board = self.tree, self.root, self._root_board
        moves = tuple(move_stats(tree, root, board, self._own_value, self.config)) if statistics else ()
        return self.reporter.send(tree, root, board, self.progress, self._best_child, moves, chosen)

    def _own_value(self, node: int) -> float | None:
        """V of a node for its side to move: what the network alone said of it, None if that is forgotten."""
        found = self.cache.get((self.tree.key[node], self._clock_byte(node)))
        return None if found is None else found.value
