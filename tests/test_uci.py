"""The protocol, as GUIs speak it."""

import random
import re
import time
from collections.abc import Iterator

import chess
import pytest
from fake_evaluator import Client, FakeEvaluator, best_move, even, field, last_info, material

INFO = re.compile(
    r"info depth \d+ seldepth \d+ time \d+ nodes \d+ nps \d+ score (cp|mate) -?\d+( wdl \d+ \d+ \d+)?"
    r" hashfull \d+ tbhits \d+ multipv \d+( pv( [a-h][1-8][a-h][1-8][nbrq]?)+)?"
)


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


def check_answer(lines: list[str], board: chess.Board) -> None:
    """Well-formed info lines with a score, the last one's PV legal and beginning with the best move."""
    for line in lines:
        assert line.startswith(("info string ", "bestmove ")) or INFO.fullmatch(line), line
    moves = last_info([line for line in lines if "multipv 1 " in line]).split(" pv ")[1].split()
    assert moves[0] == best_move(lines)
    board = board.copy()
    for move in moves:
        board.push(board.parse_uci(move))
    ponder = lines[-1].split()[3:]
    assert ponder == moves[1:2]


def test_nibbler_gets_a_line_and_the_statistics_of_every_move(client: Client) -> None:
    """What Nibbler sends to engines it takes for relatives of Leela's."""
    options = [
        "LogLiveStats value true",
        "MultiPV value 500",
        "SmartPruningFactor value 0",
        "VerboseMoveStats value true",
    ]
    client.send("uci", *(f"setoption name {option}" for option in options))
    lines = client.go("position startpos", "go nodes 100")
    assert {line.split(" multipv ")[1].split()[0] for line in lines if " multipv " in line} == {
        str(rank) for rank in range(1, 21)
    }
    assert {line.split()[2] for line in lines if " N: " in line} == {
        *(move.uci() for move in chess.Board().legal_moves),
        "node",
    }


def test_uci_lists_every_option_once(client: Client) -> None:
    client.send("uci")
    lines = client.read_until("uciok")
    names = [line.split(" type ")[0] for line in lines if line.startswith("option ")]
    assert len(names) == len(set(names)) > 30
    assert "option name Clear Hash type button" in lines
    assert "option name Move Overhead type spin default 100 min 0 max 10000" in lines


@pytest.mark.parametrize("line", ["  uci", "uci\r", "\tuci  ", "\ufeffuci", "joho uci", "xboard please uci"])
def test_lines_may_be_dirty(client: Client, line: str) -> None:
    client.send(line)
    assert client.read_until("uciok")


@pytest.mark.parametrize("line", ["xboard", "hello there", "ucci"])
def test_unknown_commands_are_named_and_ignored(client: Client, line: str) -> None:
    client.send(line)
    assert client.ready() == [f"info string unknown command '{line}'"]


def test_empty_lines_are_silent(client: Client) -> None:
    client.send("", "   ", "\r")
    assert client.ready() == []


def test_uci_and_isready_are_answered_while_searching(client: Client) -> None:
    client.send("position startpos", "go infinite")
    client.read_until("info depth")
    client.send("isready")
    client.read_until("readyok", 2)
    client.send("uci")
    client.read_until("uciok", 2)
    client.send("stop")
    assert client.read_until("bestmove")


BAD_POSITIONS = [
    "position startpos moves e2e5",
    "position startpos moves e2e4 e7e5 0000",
    "position startpos moves e2e4 nonsense",
    "position fen 8/8/8/8/8/8/8/8 w - - 0 1",
    "position fen rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQ1BNR w KQkq - 0 1",
    "position fen 4k3/8/8/8/8/8/4R3/4K3 w - - 0 1",
    "position fen what",
    "position fen",
    "position",
    "position moves e2e4",
    "position startpos e2e4 e7e5",
    "position startpos Moves e2e4",
    "position startpos e2e4 moves e7e5",
]

NO_POSITION = "info string there is no position: the last one was refused"


@pytest.mark.parametrize("bad", BAD_POSITIONS)
def test_a_refused_position_is_named_and_no_other_is_answered_for(client: Client, bad: str) -> None:
    client.go("position startpos moves e2e4", "go nodes 5")
    client.send(bad)
    (complaint,) = client.ready()
    assert complaint.startswith("info string ")
    assert complaint.endswith("; nothing is searched until a position is accepted")
    for _ in range(2):
        assert client.go("go nodes 5") == [NO_POSITION, "bestmove (none)"]
        for look in ("d", "eval"):
            client.send(look)
            assert client.ready() == [NO_POSITION]
        client.send("ucinewgame")
    lines = client.go("position startpos moves e2e4", "go nodes 5")
    check_answer(lines, chess.Board("rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1"))
    client.send("d")
    assert NO_POSITION not in client.ready()


@pytest.mark.parametrize(("go", "end"), [("go infinite", "stop"), ("go ponder", "stop"), ("go ponder", "ponderhit")])
def test_without_a_position_the_answer_waits_as_ever(client: Client, go: str, end: str) -> None:
    client.send("position fen what", go)
    client.read_until(NO_POSITION)
    assert client.quiet() == []
    client.send(end)
    assert client.read_until("bestmove") == ["bestmove (none)"]


def test_bench_needs_no_position(client: Client) -> None:
    client.send("position fen what", "bench 2")
    assert "bench: " in client.read_until("info string bench")[-1]
    assert client.go("go nodes 5")[-1] == "bestmove (none)"


def test_an_illegal_move_is_named_with_its_place(client: Client) -> None:
    client.send("position startpos moves e2e4 e7e5 e4e5")
    [complaint] = client.ready()
    assert "'e4e5'" in complaint
    assert "number 3" in complaint


@pytest.mark.parametrize(
    ("fen", "score"),
    [
        ("rnb1kbnr/pppp1ppp/8/4p3/6Pq/5P2/PPPPP2P/RNBQKBNR w KQkq - 1 3", "score mate 0"),
        ("7k/5Q2/6K1/8/8/8/8/8 b - - 0 1", "score cp 0"),
    ],
)
def test_finished_games_have_no_best_move(client: Client, fen: str, score: str) -> None:
    lines = client.go(f"position fen {fen}", "go wtime 1000 btime 1000")
    assert lines[-1] == "bestmove (none)"
    assert score in last_info(lines)


def test_stop_and_ponderhit_without_a_search_say_nothing(client: Client) -> None:
    client.send("stop", "ponderhit", "stop")
    assert client.ready() == []


@pytest.mark.parametrize(
    "go",
    [
        "go nodes 1",
        "go nodes 60",
        "go depth 2",
        "go movetime 50",
        "go movetime 0",
        "go wtime 100",
        "go btime 100",
        "go wtime 100 btime 100 winc 50 binc 50",
        "go wtime -5 btime -5",
        "go wtime 1 btime 1 movestogo 1",
        "go nodes 0",
        "go depth -1",
        "go nodes 10 nodes x searchmoves zz wtime",
        "go mate 1 nodes 30",
        "go movetime 50.0",
        "go nodes 1e2",
        "go movetime",
        "go movetime soon",
        "go wtime nan btime nan winc 100 binc 100",
    ],
)
@pytest.mark.parametrize("moves", ["", " moves e2e4 e7e5"])
def test_every_go_is_answered(client: Client, go: str, moves: str) -> None:
    board = chess.Board()
    for move in moves.split()[1:]:
        board.push_uci(move)
    check_answer(client.go(f"position startpos{moves}", go), board)


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize(
    "limit", ["wtime", "btime", "movetime", "winc {} wtime", "movestogo {} wtime", "nodes", "mate"]
)
def test_numbers_may_be_of_any_length(client: Client, limit: str, sign: str) -> None:
    number = sign + "9" * 400
    client.send("position startpos", f"go {limit.format(number)} {number}")
    client.send("stop")
    check_answer(client.read_until("bestmove"), chess.Board())
    assert client.ready() == []


@pytest.mark.parametrize("clocks", ["9" * 400 + " 1", "0 " + "9" * 400])
def test_the_clocks_of_a_fen_may_be_of_any_length(client: Client, clocks: str) -> None:
    client.send("setoption name Temperature value 1", "setoption name TempDecayMoves value 10")
    fen = f"4k3/p7/8/8/8/8/P7/4K3 w - - {clocks}"
    lines = client.go(f"position fen {fen}", "go nodes 50")
    assert not [line for line in lines if line.startswith("info string")]
    assert chess.Move.from_uci(best_move(lines)) in chess.Board(fen).legal_moves


@pytest.mark.parametrize(
    "go", ["go nodes 5 {}", "go nodes 5 wtime {}", "go nodes 5 searchmoves {}", "go nodes 5 mate{}"]
)
def test_a_thousand_mistakes_get_a_few_sentences(client: Client, go: str) -> None:
    lines = client.go("position startpos", go.format(" nodes" * 1000), go.format(" rubbish" * 1000))
    lines += client.read_until("bestmove")
    said = [line for line in lines if line.startswith("info string")]
    assert 0 < len(said) <= 12
    assert max(map(len, said)) < 1100


def test_contradictory_limits_are_all_kept(client: Client) -> None:
    client.send("position startpos", "go infinite nodes 5 movetime 10")
    assert not [line for line in client.quiet(0.3) if line.startswith("bestmove")]
    client.send("stop")
    assert int(field(last_info(client.read_until("bestmove")), "nodes")) <= 5
    lines = client.go("go depth 99 nodes 7 movetime 20000 wtime 1 btime 1")
    assert int(field(last_info(lines), "nodes")) <= 7


def test_every_go_of_a_storm_of_commands_is_answered_once(client: Client) -> None:
    commands = ["go infinite", "go ponder wtime 100 btime 100", "go nodes 3", "go movetime 5", "go mate 1", "go"]
    others = ["stop", "ponderhit", "isready", "ucinewgame", "setoption name Hash value 1", "position fen junk", "eval"]
    generator = random.Random(1)
    sent = [generator.choice(commands if generator.random() < 0.4 else others) for _ in range(200)]
    client.send("position startpos moves e2e4", *sent, "stop", "position fen the end")
    lines = client.read_until("info string bad FEN 'the end'", 60)
    assert sum(line.startswith("bestmove") for line in lines) == sum(line.startswith("go") for line in sent)
    assert not any("failed" in line or "given up" in line for line in lines)
    check_answer(client.go("position startpos", "go nodes 9"), chess.Board())


DEEP = "info string go depth: depth is the mean depth of the search, as in Lc0; one this deep may take very long"


def test_a_depth_that_may_take_very_long_is_told_of(client: Client) -> None:
    client.send("position startpos", "go depth 20", "stop")
    assert client.read_until("bestmove").count(DEEP) == 1
    for go in ("depth 2", "depth 20 nodes 5", "depth 20 movetime 50", "depth 20 wtime 100 btime 100"):
        assert DEEP not in client.go(f"go {go}")
    client.send("go infinite depth 20", "stop")
    assert DEEP not in client.read_until("bestmove")
    assert DEEP not in client.go("setoption name NodeLimit value 5", "go depth 20")


def test_go_mate_ends_with_the_mate_and_waits_for_one(client: Client) -> None:
    fen = "kbK5/pp6/1P6/8/8/8/8/R7 w - - 0 1"
    lines = client.go(f"position fen {fen}", "go mate 2")
    assert field(last_info(lines), "mate") == "2"
    assert best_move(lines) == "a1a6"
    # Where no mate is near it goes on looking.
    client.send("position startpos", "go mate 1")
    assert not [line for line in client.quiet(0.3) if line.startswith("bestmove")]
    client.send("stop")
    assert client.read_until("bestmove")


def test_infinite_waits_for_stop_even_when_there_is_nothing_left_to_search(client: Client) -> None:
    client.send("position fen 6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - 0 1", "go infinite")
    lines = client.read_until("info depth")
    lines += client.quiet(0.4)
    assert not [line for line in lines if line.startswith("bestmove")]
    client.send("stop")
    assert client.read_until("bestmove")[-1].startswith("bestmove d1d8")


def test_a_bare_go_searches_until_stop(client: Client) -> None:
    client.send("position startpos", "go")
    assert not [line for line in client.quiet(0.3) if line.startswith("bestmove")]
    client.send("stop")
    assert client.read_until("bestmove")


def test_no_answer_before_ponderhit_and_a_quick_one_after(client: Client) -> None:
    client.send("position startpos moves e2e4 e7e5", "go ponder movetime 150")
    assert not [line for line in client.quiet(0.5) if line.startswith("bestmove")]
    hit = time.monotonic()
    client.send("ponderhit")
    client.read_until("bestmove")
    assert 0.02 < time.monotonic() - hit < 2


def test_ponder_is_answered_on_stop(client: Client) -> None:
    client.send("position startpos", "go ponder wtime 1000 btime 1000")
    assert not [line for line in client.quiet(0.3) if line.startswith("bestmove")]
    client.send("stop")
    assert client.read_until("bestmove")
    assert client.quiet() == []


def test_a_second_go_ends_the_first(client: Client) -> None:
    client.send("position startpos", "go infinite", "go nodes 5")
    client.read_until("bestmove")
    client.read_until("bestmove")


def test_chess960_castling_is_spelled_as_king_takes_rook() -> None:
    def castle(board: chess.Board, move: chess.Move) -> float:
        return 9.0 if board.is_castling(move) else 0.0

    client = Client(FakeEvaluator(even, castle))
    fen = "position fen rnbqk1nr/pppp1ppp/8/2b1p3/4P3/3B1N2/PPPP1PPP/RNBQK2R w KQkq - 0 4"
    assert best_move(client.go(fen, "go nodes 1")) == "e1g1"
    client.send("setoption name UCI_Chess960 value true")
    assert best_move(client.go(fen, "go nodes 1")) == "e1h1"
    moved = client.go(fen + " moves e1h1", "go nodes 20")
    board = chess.Board(fen.removeprefix("position fen "), chess960=True)
    board.push_uci("e1h1")
    check_answer(moved, board)
    # King b1, rook a1: queenside castling moves the king to the right.
    client.send("position fen 1k6/8/8/8/8/8/8/RK6 w A - 0 1")
    assert best_move(client.go("go nodes 1")) == "b1a1"
    client.close()


def test_moves_may_be_written_in_capitals(client: Client) -> None:
    pawn = "position fen 8/4P1k1/8/8/8/8/8/4K3 w - - 0 1"
    boards = []
    for moves in ("e7e8q g7f6 e8h8", "e7e8Q g7f6", "E7E8Q G7F6 E8H8"):
        client.send(f"{pawn} moves {moves}", "d")
        boards.append(client.ready())
    assert boards[0] == boards[2] != boards[1]
    assert not any("illegal" in line for board in boards for line in board)
    lines = client.go(pawn, "go nodes 20 searchmoves e7e8N")
    assert best_move(lines) == "e7e8n"
    assert not [line for line in lines if line.startswith("info string")]


def test_searchmoves_restricts_the_root(client: Client) -> None:
    lines = client.go("position startpos", "go nodes 80 searchmoves a2a3 h2h4")
    assert best_move(lines) in ("a2a3", "h2h4")
    lines = client.go("setoption name MultiPV value 5", "go nodes 80 searchmoves a2a3 h2h4")
    assert {line.split(" pv ")[1].split()[0] for line in lines if " pv " in line} == {"a2a3", "h2h4"}
    # The tree of a restricted search must not hide the other moves from the next one.
    lines = client.go("go nodes 80")
    assert {line.split(" pv ")[1].split()[0] for line in lines if " pv " in line} - {"a2a3", "h2h4"}


def test_impossible_searchmoves_are_named(client: Client) -> None:
    lines = client.go("position startpos", "go nodes 20 searchmoves e7e5")
    assert any("e7e5" in line for line in lines if line.startswith("info string"))
    check_answer([line for line in lines if "string" not in line], chess.Board())


def test_wdl_is_shown_on_demand_and_sums_to_a_thousand(client: Client) -> None:
    assert " wdl " not in last_info(client.go("position startpos", "go nodes 10"))
    line = last_info(client.go("setoption name UCI_ShowWDL value true", "go nodes 30"))
    words = line.split()
    index = words.index("wdl")
    assert sum(int(word) for word in words[index + 1 : index + 4]) == 1000


def test_scores_are_for_the_side_to_move(client: Client) -> None:
    queen_up = "4k3/pppp4/8/8/8/8/PPPP4/3QK3 {} - - 0 1"
    white = last_info(client.go(f"position fen {queen_up.format('w')}", "go nodes 30"))
    black = last_info(client.go(f"position fen {queen_up.format('b')}", "go nodes 30"))
    assert int(field(white, "cp")) > 100
    assert int(field(black, "cp")) < -100


def test_board_and_raw_evaluation_can_be_seen(client: Client) -> None:
    client.send("position startpos moves e2e4", "d")
    shown = client.ready()
    assert "info string fen rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1" in shown
    assert any(line.startswith("info string legal") and "e7e5" in line for line in shown)
    client.send("eval")
    shown = client.ready()
    assert any("with memory: win" in line for line in shown)
    assert any("without memory:" in line and "%" in line for line in shown)
    client.send("go infinite", "eval")
    client.read_until("info string eval has to wait")
    client.send("stop")
    client.read_until("bestmove")


def test_bench_counts_its_nodes(client: Client) -> None:
    client.send("bench 20")
    line = client.read_until("info string bench")[-1]
    assert "bench: 240 nodes" in line
    assert client.ready() == []


def test_debug_tells_why_a_search_stopped(client: Client) -> None:
    lines = client.go("debug on", "position startpos", "go nodes 10")
    assert "info string stopped: nodes" in lines


class Crashing(FakeEvaluator):
    """Fails, or answers nonsense, after some batches."""

    def __init__(self, good: int, nonsense: bool) -> None:
        super().__init__(material)
        self.good, self.nonsense = good, nonsense

    def evaluate(self, planes, clocks, memory=True):  # type: ignore[no-untyped-def]
        answer = super().evaluate(planes, clocks, memory)
        if len(self.batches) <= self.good:
            return answer
        if not self.nonsense:
            raise MemoryError("out of memory\nin two lines")
        answer.wdl[:] = float("nan")
        return answer


@pytest.mark.parametrize("nonsense", [False, True])
@pytest.mark.parametrize("good", [1, 4])
def test_a_failing_network_costs_a_sentence_not_the_game(good: int, nonsense: bool) -> None:
    client = Client(Crashing(good, nonsense))
    for _ in range(2):
        lines = client.go("position startpos", "go nodes 100")
        check_answer(lines, chess.Board())
        assert sum("given up" in line for line in lines) == 1
    assert client.ready() == []
    client.close()


def test_a_failing_network_leaves_the_choice_to_searchmoves() -> None:
    client = Client(Crashing(good=0, nonsense=False))
    lines = client.go("position startpos", "go nodes 100 searchmoves h2h3 a2a4")
    assert best_move(lines) in ("h2h3", "a2a4")
    client.close()


def test_help_names_the_commands_and_perft_is_refused_without_a_search(client: Client) -> None:
    client.send("help")
    told = " ".join(client.ready())
    for command in ("setoption", "position", "ponderhit", "eval", "similar", "teach", "forget", "memory", "bench"):
        assert re.search(rf"\b{command}\b", told), command
    client.send("position startpos", "go perft 3")
    assert client.ready() == ["info string go perft: Dejavu does not count positions"]
    assert client.quiet() == []
