"""The tree that is kept from move to move: what a repetition in it was worth before the root moved on."""

from fake_evaluator import FakeEvaluator, even
from searching import check_tree, played, search

from dejavu.engine.search.game import Game
from dejavu.engine.search.kept_tree import KeptTree
from dejavu.engine.search.tree import DRAWN, UNPROVEN, Tree
from dejavu.model.chess.encoding import index_to_move

SHUFFLING = "7k/7p/7P/8/8/p7/P7/K7 w - - {clock} 60"


def is_below(tree: Tree, node: int, root: int) -> bool:
    while node > root:
        node = tree.parent[node]
    return node == root


def repeats_below(tree: Tree, node: int, root: int) -> bool:
    """Whether the position stands on the way from `root` to `node`."""
    above = node
    while above != root:
        above = tree.parent[above]
        if tree.key[above] == tree.key[node]:
            return True
    return False


def kept_tree(tree: Tree, game: Game) -> KeptTree:
    kept = KeptTree()
    kept._tree, kept._game = tree, game
    return kept


def after(game: Game, tree: Tree, *nodes: int) -> Game:
    """The game once the moves into these nodes, one below the other, have been played."""
    later = game.copy()
    for node in nodes:
        later.play(index_to_move(tree.move_into(node), later.board).uci())
    return later


def test_a_repetition_of_what_has_been_played_is_open_again() -> None:
    game = Game(SHUFFLING.format(clock=0), chess960=False)
    run, _, _ = search(game, 4000, FakeEvaluator(even))
    tree = run.tree
    kept = kept_tree(tree, game)
    child = tree.ranked_children(0)[0]
    reply = tree.ranked_children(child)[0]
    before = {tree.key[0], tree.key[child]}
    leaves = [
        node
        for node in range(len(tree))
        if tree.proof[node] == DRAWN and tree.first_edge[node] < 0 and is_below(tree, node, reply)
    ]
    open_again = [node for node in leaves if tree.key[node] in before and not repeats_below(tree, node, reply)]
    still_drawn = [node for node in leaves if repeats_below(tree, node, reply)]
    assert open_again
    assert still_drawn
    later = after(game, tree, child, reply)
    searched, root = kept.root_of(later, keep_rest=True)
    assert (searched, root) == (tree, reply)
    assert all(tree.proof[node] == UNPROVEN for node in open_again)
    assert all(tree.proof[node] == DRAWN for node in still_drawn)
    check_tree(run)
    # The search goes on with them as with any leaf.
    assert kept.root_of(later, keep_rest=False)[1] == 0


def test_a_repetition_that_the_fifty_move_rule_ends_stays_drawn() -> None:
    game = Game(SHUFFLING.format(clock=91), chess960=False)
    run, _, _ = search(game, 4000, FakeEvaluator(even))
    tree = run.tree
    child = tree.ranked_children(0)[0]
    reply = tree.ranked_children(child)[0]
    ended = [node for node in range(len(tree)) if tree.clock[node] >= 100]
    before = {tree.key[0], tree.key[child]}
    below = [node for node in ended if tree.key[node] in before and is_below(tree, node, reply)]
    assert any(not repeats_below(tree, node, reply) for node in below)
    kept_tree(tree, game).root_of(after(game, tree, child, reply), keep_rest=True)
    assert all(tree.proof[node] == DRAWN for node in ended)


def test_a_repetition_of_what_stood_twice_in_the_game_stays_drawn() -> None:
    game = played("a1b1 h8g8 b1a1 g8h8", SHUFFLING.format(clock=0))
    run, _, _ = search(game, 4000, FakeEvaluator(even))
    tree = run.tree
    child = tree.ranked_children(0)[0]
    reply = tree.ranked_children(child)[0]
    third = [
        node
        for node in range(reply + 1, len(tree))
        if tree.key[node] == tree.key[0] and is_below(tree, node, reply) and not repeats_below(tree, node, reply)
    ]
    assert third
    kept_tree(tree, game).root_of(after(game, tree, child, reply), keep_rest=True)
    assert all(tree.proof[node] == DRAWN for node in third)
