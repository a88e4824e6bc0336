"""Learning in play, as a user of a GUI sees it: taught and learned, known at once and after a restart, forgotten."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import chess
import numpy as np
import pytest
from fake_evaluator import Client, best_move, field
from lines import next_line

from dejavu.engine.loader import load_network, wanted
from dejavu.engine.options import Config
from dejavu.engine.uci.experience import DEEP_NODES
from dejavu.engine.uci.learning import FILE, Learning
from dejavu.engine.uci.session import Session
from dejavu.model.chess.encoding import pack, unpack
from dejavu.model.inference import NetworkEvaluator
from dejavu.retrieval.learned import LearnedMemory
from dejavu.retrieval.learned_records import TAUGHT, TAUGHT_NODES, result_of
from dejavu.retrieval.lock import LOCK_SECONDS, hold_lock
from dejavu.retrieval.memory import Memory

POSITION = "position startpos moves a2a4 h7h5 a1a3 h8h6"


@cache
def network() -> NetworkEvaluator:
    files = wanted(Config())
    return NetworkEvaluator.load(files.weights, files.memory, threads=1, backend="torch")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEJAVU_DATA", str(tmp_path))
    return tmp_path / FILE


@pytest.fixture
def client(file: Path) -> Iterator[Client]:
    client = started()
    yield client
    client.close()
    network().put_beside([])


def started() -> Client:
    """An engine that begins anew."""
    network().put_beside([])
    return Client(network())


def reopened(file: Path) -> LearnedMemory:
    learned = LearnedMemory(file)
    learned.refresh()
    return learned


def told(client: Client, *lines: str) -> list[str]:
    """What is said to lines, without `info string`."""
    client.send(*lines)
    return [line.removeprefix("info string ") for line in client.ready()]


def test_a_taught_move_is_known_at_once_and_after_a_restart(client: Client, file: Path) -> None:
    before = told(client, POSITION, "eval")
    [sentence] = told(client, "teach b1c3")
    assert sentence.startswith("taught: Nc3 in ")
    assert str(file) in sentence
    for again in (False, True):
        each = started() if again else client
        shown = told(each, POSITION, "eval")
        assert shown != before
        assert any("distance 0 " in line and "Nc3" in line and "Taught by hand, taught 20" in line for line in shown)
        assert best_move(each.go("go nodes 1")) == "b1c3"
        memories = told(each, "memory")
        assert len(memories) == 2
        assert re.match(r"memory 1: [\d,]+ entries, ", memories[0])
        assert memories[1].startswith(f"memory 2: 1 entries, {file}, 0 learned and 1 taught, the last 20")


def test_what_is_forgotten_is_played_as_before(client: Client) -> None:
    before = told(client, POSITION, "eval")
    told(client, "teach b1c3")
    [sentence] = told(client, "forget")
    assert sentence.startswith("forgotten: ")
    assert told(client, "eval") == before
    assert told(client, "forget") == ["forget: nothing was learned of this position"]
    assert len(told(client, "memory")) == 1


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["teach"], "teach needs a move in UCI notation: teach e2e4"),
        (["position startpos", "teach e2e5"], "teach: 'e2e5' is not legal in rnbqkbnr/"),
        (["position fen nonsense", "teach e2e4"], "there is no position: the last one was refused"),
        (["setoption name Learn value off", "teach e2e4"], "teach: the option Learn is off"),
        (["setoption name Learn value off", "forget"], "forget: the option Learn is off"),
    ],
)
def test_what_cannot_be_taught_is_one_sentence(client: Client, file: Path, lines: list[str], sentence: str) -> None:
    assert told(client, *lines)[-1].startswith(sentence)
    assert not file.exists()


def test_teach_without_a_network_is_one_sentence(file: Path) -> None:
    client = Client()
    assert told(client, "position startpos", "teach e2e4") == [
        "teach: nothing can be learned without a network and a memory file"
    ]
    client.close()


def test_learn_off_does_not_ask_what_was_learned(client: Client) -> None:
    before = told(client, POSITION, "eval")
    told(client, "teach b1c3")
    assert told(client, "setoption name Learn value off", "eval") == before
    assert told(client, "setoption name Learn value read", "eval") != before


def test_with_defaults_nothing_is_written_or_said(client: Client, file: Path) -> None:
    lines = client.go("position startpos", "go nodes 250")
    lines += client.go("ucinewgame", "position startpos", "go nodes 1")
    assert not [line for line in lines if "learn" in line]
    assert not list(file.parent.iterdir())


@pytest.mark.parametrize("mode", ["off", "read"])
def test_what_is_not_learned_any_more_is_not_announced(client: Client, mode: str) -> None:
    told(client, "setoption name Learn value on")
    lines = client.go(f"setoption name Learn value {mode}", "position startpos", "go nodes 1")
    assert not [line for line in lines if "learn" in line]
    lines = client.go("setoption name Learn value on", "go nodes 1")
    assert len([line for line in lines if "learning into" in line]) == 1


def test_a_game_is_learned_and_known_after_a_restart(client: Client, file: Path) -> None:
    lines = client.go("setoption name Learn value on", POSITION, "go nodes 250")
    assert [line for line in lines if f"learning into {file}" in line]
    played = best_move(lines)
    assert not file.exists()
    client.send("ucinewgame")
    client.ready()
    again = started()
    shown = told(again, POSITION, "eval")
    board = chess.Board()
    for move in POSITION.split()[3:]:
        board.push_uci(move)
    san = board.san(board.parse_uci(played))
    assert any("distance 0 " in line and san in line and "Dejavu's game, learned 20" in line for line in shown)
    again.close()


def test_the_end_of_input_ends_the_game_too(client: Client, file: Path) -> None:
    other = started()
    other.go("setoption name Learn value on", POSITION, "go nodes 250")
    other.close()
    learned = LearnedMemory(file)
    learned.refresh()
    assert len(learned) == 1


def test_a_stopped_analysis_is_known_at_once(client: Client, file: Path) -> None:
    client.send("setoption name Learn value on", POSITION, "go infinite")
    while (
        "nodes" not in (line := client.read_until("info depth")[-1]) or int(line.split(" nodes ")[1].split()[0]) < 250
    ):
        pass
    client.send("stop")
    client.read_until("bestmove")
    assert file.exists()
    assert any("distance 0 " in line and "Dejavu's analysis" in line for line in told(client, "eval"))


def test_what_cannot_be_written_now_is_learned_later(client: Client, file: Path) -> None:
    client.go("setoption name Learn value on", POSITION, "go nodes 250")
    with hold_lock(file.with_name(f"{file.name}.lock")):
        client.send("position startpos", "go infinite")
        while " nodes " not in (line := client.read_until("info depth")[-1]) or int(field(line, "nodes")) < 250:
            pass
        began = time.monotonic()
        client.send("stop")
        lines = client.read_until("bestmove")
        assert time.monotonic() - began < LOCK_SECONDS / 2
        assert any("is kept until the next game or analysis ends" in line for line in lines)
    assert not file.exists()
    client.send("ucinewgame")
    client.ready()
    learned = LearnedMemory(file)
    learned.refresh()
    assert learned.find(pack(chess.Board())) is not None


def test_a_move_that_was_taught_while_the_file_was_locked_outlives_the_searches_after_it(
    client: Client, file: Path
) -> None:
    with hold_lock(file.with_name(f"{file.name}.lock")):
        told(client, "setoption name Learn value on", POSITION, "teach b1c3")
    client.go("go nodes 250")
    told(client, "ucinewgame")
    [record] = reopened(file).records
    assert (int(record["kind"]), int(record["nodes"])) == (TAUGHT, TAUGHT_NODES)


@pytest.mark.parametrize("mode", ["read", "on"])
def test_teach_says_that_a_locked_file_has_it_not_yet_and_it_is_written_later(
    client: Client, file: Path, mode: str
) -> None:
    with hold_lock(file.with_name(f"{file.name}.lock")):
        [sentence] = told(client, f"setoption name Learn value {mode}", POSITION, "teach b1c3")
        assert re.match(
            r"teach: not written yet \(.* another program has held .*\); what is to be learned is kept ", sentence
        )
    assert not file.exists()
    told(client, "ucinewgame")
    assert [int(record["kind"]) for record in reopened(file).records] == [TAUGHT]


def test_what_is_forgotten_is_not_written_later(client: Client, file: Path) -> None:
    with hold_lock(file.with_name(f"{file.name}.lock")):
        told(client, POSITION, "teach b1c3")
        told(client, "position startpos", "teach h2h4")
    [sentence] = told(client, POSITION, "forget")
    assert sentence.startswith("forgotten: what was learned of ")
    assert told(client, "forget") == ["forget: nothing was learned of this position"]
    told(client, "ucinewgame")
    assert [record["boards"].tobytes() for record in reopened(file).records] == [pack(chess.Board())]


def test_a_file_that_cannot_be_written_is_told_once_until_it_has_taken_something(
    client: Client, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LearnedMemory.put, "__defaults__", (0.1,))
    monkeypatch.setattr(Learning._put, "__defaults__", (0.1,))
    client.go("setoption name Learn value on", "position startpos", "go nodes 250")
    heard: list[int] = []
    for round_number in range(3):
        with hold_lock(file.with_name(f"{file.name}.lock")):
            for _ in range(2):
                client.go("position startpos", "go nodes 250")
                said = told(client, "ucinewgame")
                heard.append(len([line for line in said if "is kept until the next game" in line]))
        if round_number:
            told(client, "ucinewgame")
    assert heard == [1, 0, 0, 0, 1, 0]


def test_a_loss_takes_the_place_of_a_game_that_is_not_written_yet(client: Client, file: Path) -> None:
    """The second game is lost by its very first move, and was searched less deeply than the first."""
    client.go("setoption name Learn value on", "position startpos", "go nodes 400")
    mated = "position startpos moves f2f3 e7e5 g2g4 d8h4"
    with hold_lock(file.with_name(f"{file.name}.lock")):
        told(client, "ucinewgame")
        client.go("setoption name Clear Hash", "position startpos", "go nodes 250")
        told(client, mated)
        told(client, "ucinewgame")
    client.go("position startpos moves h2h3", "go nodes 250")
    told(client, "ucinewgame")
    record = reopened(file).find(pack(chess.Board()))
    assert record is not None
    assert result_of(int(record["result"])) == "0-1"
    assert int(record["nodes"]) >= 400


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without telling it")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_game_too(file: Path, ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "dejavu.engine"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdin is not None
        assert engine.stdout is not None
        engine.stdin.write(f"setoption name Learn value on\n{POSITION}\ngo nodes 250\n")
        engine.stdin.flush()
        while not next_line(engine.stdout).startswith("bestmove"):
            pass
        engine.send_signal(ending)
        assert engine.wait(30) == 0
    learned = LearnedMemory(file)
    learned.refresh()
    assert len(learned) == 1


MATE_IN_THREE = "position fen 6k1/1p1Rr3/p6p/4PQp1/8/P1r1B2P/P3n1K1/8 w - - 0 1"


def test_a_mate_that_was_found_is_known_at_once_after_a_restart(client: Client, file: Path) -> None:
    found = client.go("setoption name Learn value on", MATE_IN_THREE, "go nodes 20000")
    assert " score mate 3 " in found[-2]
    client.send("ucinewgame")
    client.ready()
    again = started()
    lines = again.go(MATE_IN_THREE, "go nodes 2")
    assert " score mate 3 " in lines[-2]
    assert any("Dejavu's game, learned 20" in line and "mate in 3" in line for line in told(again, "eval"))
    for option in ("Learn value off", "UseMemory value false"):
        lines = again.go(f"setoption name {option}", "go nodes 2")
        assert " score cp " in lines[-2]
        told(again, "setoption name Learn value read", "setoption name UseMemory value true")
    again.close()


@pytest.mark.parametrize(
    ("option", "go"),
    [
        ("UCI_LimitStrength value true", "go nodes 250"),
        ("Temperature value 1", "go nodes 250"),
        ("Learn value on", "go nodes 250 searchmoves h2h3"),
    ],
)
def test_a_search_that_was_not_to_find_the_best_move_teaches_nothing(
    client: Client, file: Path, option: str, go: str
) -> None:
    client.go("setoption name Learn value on", f"setoption name {option}", MATE_IN_THREE, go)
    client.send("ucinewgame")
    client.ready()
    assert not file.exists()


def test_bench_asks_nothing_that_was_learned(client: Client) -> None:
    told(client, "position startpos", "teach a2a3")
    client.send("bench 1")
    client.read_until("info string bench")
    assert network().memories == [network().memories[0]]


def test_a_file_of_something_else_costs_one_sentence(client: Client, file: Path) -> None:
    file.write_bytes(b"something else")
    lines = client.go("position startpos", "go nodes 1") + client.go("go nodes 1")
    assert len([line for line in lines if "is not a file of learned positions" in line]) == 1
    assert told(client, "teach e2e4")[-1] == f"teach: {file} cannot be used"
    assert file.read_bytes() == b"something else"


def test_a_file_of_another_network_is_made_ready_in_the_background(client: Client, file: Path) -> None:
    told(client, POSITION, "teach b1c3")
    learned = LearnedMemory(file)
    learned.refresh()
    assert learned.space is not None
    learned.space = replace(learned.space, fingerprint="00ff")
    learned._rewrite(learned.records, learned.space)
    again = started()
    lines = told(again, POSITION, "eval")
    assert len([line for line in lines if "was learned with another network" in line]) == 1
    deadline = time.monotonic() + 60
    while not any("Taught by hand" in line for line in told(again, "eval")):
        assert time.monotonic() < deadline, "it is never asked again"
        time.sleep(0.1)
    again.close()


@pytest.fixture(scope="module")
def memories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two small memories whose keys differ."""
    folder = tmp_path_factory.mktemp("memories")
    small = Memory.open(wanted(Config()).memory or Path())
    rows = np.arange(500)
    small = replace(small, **{name: getattr(small, name)[rows] for name in Memory.ENTRY_ARRAYS})
    other = replace(small, key_projection=small.key_projection * np.float32(0.99))
    paths = folder / "one.safetensors", folder / "two.safetensors"
    small.write(paths[0])
    other.write(paths[1])
    return paths


@pytest.mark.parametrize(("mode", "most"), [("read", 0), ("on", 2)])
def test_engines_of_different_memories_share_a_file_without_writing_it_anew_before_every_game(
    memories: tuple[Path, Path], file: Path, mode: str, most: int
) -> None:
    sessions = [Session(load_network, lambda text: None) for _ in memories]
    for session, path in zip(sessions, memories, strict=True):
        session.configure(replace(Config(), memory_file=str(path), threads=1, backend="torch", learn=mode))
        session.prepare()
    sessions[0].set_position(None, [])
    assert sessions[0].teach("a2a4").startswith("taught: ")
    inodes, rewrites = file.stat().st_ino, 0
    for number in range(4):
        for session in sessions:
            session.new_game()
            session.prepare()
            if session._learning._keys._thread is not None:
                session._learning._keys._thread.join()
            rewrites, inodes = rewrites + (file.stat().st_ino != inodes), file.stat().st_ino
            if number:
                session.prepare()
                assert session._loader.learned is not None
                assert len(session._loader.learned) == len(reopened(file))
    assert rewrites <= most
    # What either adds to a file that the other one has written it asks at once.
    for session, moves in zip(sessions, (["e2e4"], ["d2d4"]), strict=True):
        session.set_position(None, moves)
        assert session.teach("a7a5").startswith("taught: ")
        assert session._loader.learned is not None
        assert session._game.board.board_fen() in {
            unpack(planes, 0).mirror().board_fen() for planes in session._loader.learned.boards
        }


def test_a_game_lost_by_quick_moves_is_learned_as_lost(client: Client, file: Path) -> None:
    """White has the queen, and gives it away: the quick search after that knows it."""
    start = "position fen r3k2r/ppp2ppp/3q4/8/8/8/PPPQ1PPP/R2RK3 w kq - 0 1"
    client.go("setoption name Learn value on", start, "go nodes 250")
    client.go(f"{start} moves d2d3 d6d3", "go nodes 20")
    client.go(f"{start} moves d2d3 d6d3 h2h3 d3d1", "go nodes 20")
    told(client, "ucinewgame")
    [record] = reopened(file).records
    assert result_of(int(record["result"])) == "0-1"


def test_quick_searches_alone_write_nothing(client: Client, file: Path) -> None:
    client.go("setoption name Learn value on", "position startpos", "go nodes 20")
    told(client, "ucinewgame")
    assert not list(file.parent.iterdir())


def test_a_quick_search_does_not_take_the_place_of_a_deep_one(client: Client, file: Path) -> None:
    client.go("setoption name Learn value on", "position startpos", "go nodes 250")
    client.go("setoption name Clear Hash", "go nodes 20")
    told(client, "ucinewgame")
    assert [int(record["nodes"]) for record in reopened(file).records] == [250]


def test_a_short_analysis_is_not_learned(client: Client, file: Path) -> None:
    client.send("setoption name Learn value on", "position startpos", "go infinite", "stop")
    lines = client.read_until("bestmove")
    assert int(field([line for line in lines if " nodes " in line][-1], "nodes")) < DEEP_NODES
    told(client, "ucinewgame")
    assert not file.exists()


@pytest.mark.parametrize("back", ["position startpos", "position startpos moves e2e4"])
def test_a_game_that_was_gone_back_in_is_learned_whole(client: Client, file: Path, back: str) -> None:
    client.go("setoption name Learn value on", "position startpos", "go nodes 250")
    client.go("position startpos moves e2e4 e7e5", "go nodes 250")
    client.go("position startpos moves e2e4 e7e5 g1f3 b8c6", "go nodes 250")
    told(client, back, "ucinewgame")
    assert len(reopened(file)) == 3


def test_of_a_move_that_was_taken_back_only_the_line_played_is_learned(client: Client, file: Path) -> None:
    client.go("setoption name Learn value on", "position startpos", "go nodes 250")
    client.go("position startpos moves e2e4 e7e5", "go nodes 250")
    client.go("position startpos moves e2e4 e7e5 g1f3 b8c6", "go nodes 250")
    client.go("position startpos moves e2e4 c7c5", "go nodes 250")
    told(client, "position startpos moves e2e4 c7c5 g1f3", "ucinewgame")
    board = chess.Board()
    expected = {pack(board)}
    board.push_uci("e2e4")
    board.push_uci("c7c5")
    assert {record["boards"].tobytes() for record in reopened(file).records} == {*expected, pack(board)}
