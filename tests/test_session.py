"""From move to move: tree reuse, pondering, the game."""

from collections.abc import Iterator

import chess
import pytest
from fake_evaluator import Client, FakeEvaluator, best_move, field, last_info, material, scattered_preference

from dejavu.engine.search.game import Game, PositionError
from dejavu.engine.search.limits import Limits
from dejavu.engine.search.lines import BestMove, Info
from dejavu.engine.uci.session import Session
from dejavu.model.chess.encoding import pack


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client(FakeEvaluator(material, scattered_preference))
    yield client
    client.close()


def asked(client: Client) -> int:
    """Positions the network has been asked about."""
    evaluator = client.evaluator
    assert isinstance(evaluator, FakeEvaluator)
    return sum(evaluator.batches)


def test_the_tree_is_kept_from_move_to_move(client: Client) -> None:
    lines = client.go("position startpos", "go nodes 800")
    move, reply = best_move(lines), lines[-1].split()[3]
    before = asked(client)
    lines = client.go(f"position startpos moves {move} {reply}", "go nodes 10")
    # The reused subtree is already larger than asked for.
    assert asked(client) == before
    assert int(field(last_info(lines), "nodes")) > 10
    lines = client.go("go nodes 400")
    assert int(field(last_info(lines), "nodes")) == 400
    assert 0 < asked(client) - before < 400


@pytest.mark.parametrize("forget", ["ucinewgame", "setoption name Clear Hash"])
def test_forgetting(client: Client, forget: str) -> None:
    client.go("position startpos", "go nodes 200")
    before = asked(client)
    client.go(forget, "position startpos", "go nodes 200")
    assert asked(client) - before > 100


def test_another_game_does_not_reuse_the_tree(client: Client) -> None:
    client.go("position startpos moves e2e4", "go nodes 300")
    lines = client.go("position startpos moves d2d4 d7d5", "go nodes 50")
    assert int(field(last_info(lines), "nodes")) == 50
    # Back to the first game: the tree of the second must not answer.
    lines = client.go("position startpos moves e2e4", "go nodes 50")
    board = chess.Board()
    board.push_uci("e2e4")
    assert chess.Move.from_uci(best_move(lines)) in board.legal_moves
    assert int(field(last_info(lines), "nodes")) == 50


def test_a_kept_subtree_is_as_good_as_new() -> None:
    """The subtree has the same numbers as before, and everything else is gone."""
    session = Session(lambda _: FakeEvaluator(material, scattered_preference), pytest.fail)
    answers: list[BestMove] = []
    infos: list[Info] = []

    def go(moves: list[str], nodes: int) -> None:
        session.set_position(None, moves)
        session.go(Limits(nodes=nodes), infos.append, answers.append)
        assert session._thread is not None
        session._thread.join()

    go([], 500)
    tree = session._kept_tree._tree
    assert tree is not None
    child = tree.ranked_children(0)[0]
    reply = tree.ranked_children(child)[0]
    expected = {
        (tree.move_into(node), tree.visits[node], round(tree.value_sum[node], 9), tree.proof[node])
        for node in tree.children[reply]
    }
    move, ponder, size = answers[0].move, answers[0].ponder, len(tree)
    assert move is not None
    assert ponder is not None
    go([move, ponder], 1)
    kept = session._kept_tree._tree
    assert kept is not None
    assert len(kept) < size
    got = {
        (kept.move_into(node), kept.visits[node], round(kept.value_sum[node], 9), kept.proof[node])
        for node in kept.children[0]
    }
    assert got == expected
    assert kept.key[0] == pack(session._game.board)


def test_a_search_that_nobody_listens_to_is_over() -> None:
    session = Session(lambda _: FakeEvaluator(material), pytest.fail)

    def gone(info: Info) -> None:
        raise BrokenPipeError

    session.go(Limits(infinite=True), gone, lambda _: pytest.fail("nobody is there to hear the move"))
    session.wait()
    assert not session.searching


def test_a_ponder_hit_keeps_what_was_pondered(client: Client) -> None:
    lines = client.go("position startpos", "go nodes 300")
    move, reply = best_move(lines), lines[-1].split()[3]
    began = asked(client)
    client.send(f"position startpos moves {move} {reply}", "go ponder nodes 2000")
    client.read_until("info depth")
    client.quiet(0.5)
    client.send("ponderhit")
    lines = client.read_until("bestmove")
    assert int(field(last_info(lines), "nodes")) > 20
    assert asked(client) - began <= 2000


def test_a_ponder_miss_keeps_the_tree_of_the_other_reply(client: Client) -> None:
    lines = client.go("position startpos", "go nodes 1500")
    move, expected = best_move(lines), lines[-1].split()[3]
    client.send(f"position startpos moves {move} {expected}", "go ponder nodes 1000")
    client.read_until("info depth")
    client.send("stop")
    client.read_until("bestmove")
    # Some other reply that was visited before: its subtree is still there.
    board = chess.Board()
    board.push_uci(move)
    kept = []
    for reply in list(board.legal_moves):
        if reply.uci() != expected:
            before = asked(client)
            client.send(f"position startpos moves {move} {reply}", "go ponder nodes 1")
            client.read_until("info depth")
            client.send("stop")
            client.read_until("bestmove")
            kept.append(asked(client) == before)
    assert any(kept)


def test_reuse_survives_a_whole_game(client: Client) -> None:
    board = chess.Board()
    while not board.is_game_over(claim_draw=True) and board.ply() < 40:
        moves = " ".join(move.uci() for move in board.move_stack)
        lines = client.go(f"position startpos moves {moves}", "go nodes 60")
        assert int(field(last_info(lines), "nodes")) >= 1
        board.push_uci(best_move(lines))
    assert board.ply() > 10
    assert asked(client) < 60 * board.ply()


def test_a_position_that_was_a_drawn_repetition_is_searched_again(client: Client) -> None:
    # After ... Ng8 the start position stands on the board again: a draw in the tree, but the game goes on.
    client.go("position startpos moves g1f3 g8f6 f3g1", "go nodes 300")
    lines = client.go("position startpos moves g1f3 g8f6 f3g1 f6g8", "go nodes 50")
    assert chess.Move.from_uci(best_move(lines)) in chess.Board().legal_moves
    assert int(field(last_info(lines), "nodes")) == 50


def test_proofs_are_kept_and_the_mate_is_carried_out(client: Client) -> None:
    fen = "kbK5/pp6/1P6/8/8/8/8/R7 w - - 0 1"
    lines = client.go(f"position fen {fen}", "go nodes 8000")
    assert field(last_info(lines), "mate") == "2"
    move, reply = best_move(lines), lines[-1].split()[3]
    before = asked(client)
    lines = client.go(f"position fen {fen} moves {move} {reply}", "go nodes 8000")
    assert field(last_info(lines), "mate") == "1"
    assert asked(client) == before


# The game


def test_history_goes_back_to_the_last_irreversible_move() -> None:
    game = Game(None, chess960=False)
    for move in ["g1f3", "g8f6", "f3g1", "f6g8", "g1f3"]:
        game.play(move)
    assert len(game.history) == 5
    assert game.history[0] == game.history[4]
    game.play("e7e5")
    assert game.history == []


@pytest.mark.parametrize("castling", ["e1g1", "e1h1"])
def test_both_spellings_of_castling_are_understood(castling: str) -> None:
    game = Game("4k3/8/8/8/8/8/8/4K2R w K - 0 1", chess960=False)
    game.play(castling)
    assert game.board.king(chess.WHITE) == chess.G1


def test_harmless_mistakes_in_a_fen_are_mended() -> None:
    game = Game("4k3/8/8/8/8/8/8/4K3 w KQkq e3 0 1", chess960=False)
    assert game.board.castling_rights == 0
    assert game.board.ep_square is None
    with pytest.raises(PositionError, match="White has no king"):
        Game("4k3/8/8/8/8/8/8/8 w - - 0 1", chess960=False)
