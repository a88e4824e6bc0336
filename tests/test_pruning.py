"""A tree that gives memory back: a full one drops what it looked at least, a new root keeps its own branch."""

import subprocess
import sys

import chess
from fake_evaluator import (
    FakeEvaluator,
    material,
    scattered_preference,
)
from searching import check_tree, search


def test_a_full_tree_is_pruned_and_the_search_goes_on() -> None:
    run, best, info = search(chess.STARTING_FEN, 20_000, FakeEvaluator(material, scattered_preference), memory=2**19)
    assert best.reason == "nodes"
    assert info.nodes == 20_000
    assert len(run.tree) < 10_000
    assert run.tree.bytes < 2**19 * 1.1
    check_tree(run, pruned=True)


def test_pruning_keeps_what_was_learned_of_the_moves() -> None:
    run, _, _ = search(chess.STARTING_FEN, 3000, FakeEvaluator(material, scattered_preference))
    tree = run.tree
    seen = [(tree.move_into(child), tree.visits[child], tree.value_sum[child]) for child in tree.ranked_children(0)]
    line = run.answer("").move
    before = tree.bytes
    assert tree.prune(0, before // 4) == 0
    assert tree.bytes < before / 2
    assert [(tree.move_into(c), tree.visits[c], tree.value_sum[c]) for c in tree.ranked_children(0)] == seen
    assert run.answer("").move == line
    check_tree(run, pruned=True)


def test_pruning_takes_little_memory_itself() -> None:
    program = """
import tracemalloc
from dejavu.engine.options import Config
from dejavu.engine.search.bench import POSITIONS, grow
from dejavu.engine.search.evaluator import UniformEvaluator

tree = grow(UniformEvaluator(), POSITIONS[1], 5000, Config())
size = tree.bytes
tracemalloc.start()
tree.prune(0, size // 2)
print(size, tree.bytes, tracemalloc.get_traced_memory()[1])
"""
    # In a process of its own: what other threads of this one take would be counted, too.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    size, kept, peak = map(int, done.stdout.split())
    assert kept <= size // 2
    assert peak < 0.55 * size


def test_the_root_of_a_ponder_search_survives_pruning() -> None:
    run, _, _ = search(chess.STARTING_FEN, 3000, FakeEvaluator(material, scattered_preference))
    tree = run.tree
    deep = tree.ranked_children(tree.ranked_children(0)[-1])[-1]
    key, moves = tree.key[deep], tree.edge_count[deep]
    new = tree.prune(deep, 1)
    assert new < deep
    assert (tree.key[new], tree.edge_count[new]) == (key, moves)


def test_rerooting_keeps_the_branch_and_nothing_else() -> None:
    run, _, _ = search(chess.STARTING_FEN, 3000, FakeEvaluator(material, scattered_preference))
    tree = run.tree
    child = tree.ranked_children(0)[0]
    visits, moves = tree.visits[child], [tree.move_into(below) for below in tree.ranked_children(child)]
    tree.reroot(child)
    assert len(tree) <= visits
    assert tree.visits[0] == visits
    assert [tree.move_into(below) for below in tree.ranked_children(0)] == moves
    check_tree(run)
