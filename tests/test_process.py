"""The engine as a process of its own, as clients start it."""

import subprocess
import sys
from pathlib import Path

import chess
import chess.engine
from fake_evaluator import best_move

FAKE_ENGINE = [sys.executable, str(Path(__file__).parent / "fake_evaluator.py")]


def test_importing_the_protocol_loads_nothing_heavy() -> None:
    code = (
        "import sys, dejavu.engine.__main__;"
        "print({'torch', 'numpy', 'chess', 'faiss', 'safetensors'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "set()"


def test_process_answers_uci_and_quits_from_any_folder(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "dejavu.engine"],
        input="uci\nquit\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=30,
        check=False,
    )
    assert process.returncode == 0
    assert process.stderr == ""
    lines = process.stdout.splitlines()
    assert lines[0].startswith("id name ")
    assert lines[1].startswith("id author ")
    assert lines[-1] == "uciok"
    assert not list(tmp_path.iterdir())


def test_process_ignores_bytes_that_are_no_text_and_lines_without_end() -> None:
    rubbish = [bytes(range(256)), b"\xff\xfe" * 50, b"a" * 2_000_000, b"position fen " + b"8" * 1_000_000, b"\0" * 99]
    process = subprocess.run(
        [sys.executable, "-m", "dejavu.engine"],
        input=b"\n".join([*rubbish, b"uci", b"quit", b""]),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0
    assert process.stderr == b""
    lines = process.stdout.splitlines()
    assert lines[-1] == b"uciok"
    assert all(line.startswith((b"info string ", b"id ", b"option ", b"uciok")) for line in lines)
    assert max(map(len, lines)) < 5000


def test_process_ends_at_the_end_of_input_and_still_answers() -> None:
    process = subprocess.run(
        FAKE_ENGINE, input="position startpos\ngo infinite\n", capture_output=True, text=True, timeout=30
    )
    assert process.returncode == 0
    assert process.stdout.splitlines()[-1].startswith("bestmove ")
    assert process.stderr == ""


def test_process_ends_silently_when_the_gui_goes_away_during_a_search() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dejavu.engine"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write("position startpos\ngo infinite\n")
    process.stdin.flush()
    while not process.stdout.readline().startswith("info depth"):
        assert process.poll() is None
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 0


def test_process_without_weights_plays_a_legal_move_and_says_why(tmp_path: Path) -> None:
    missing = tmp_path / "no such file.safetensors"
    commands = f"setoption name WeightsFile value {missing}\nisready\nposition startpos\ngo nodes 20\n"
    process = subprocess.run(
        [sys.executable, "-m", "dejavu.engine"],
        input=commands,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = process.stdout.splitlines()
    assert sum("no such file.safetensors" in line for line in lines) == 1
    assert "readyok" in lines
    assert chess.Move.from_uci(best_move(lines)) in chess.Board().legal_moves
    assert process.stderr == ""


def test_python_chess_can_play_a_game_with_it() -> None:
    with chess.engine.SimpleEngine.popen_uci(FAKE_ENGINE, timeout=30) as engine:
        engine.configure({"MinibatchSize": 4, "Hash": 16, "Threads": 1})
        board = chess.Board()
        while not board.is_game_over() and board.ply() < 12:
            result = engine.play(board, chess.engine.Limit(nodes=30), info=chess.engine.INFO_ALL)
            assert result.move is not None
            assert result.info["pv"][0] == result.move
            board.push(result.move)
        lines = engine.analyse(board, chess.engine.Limit(nodes=50), multipv=3)
        assert len(lines) == 3
        assert all(line["score"].relative.score() is not None for line in lines)


def test_lichess_bot_starts_it_with_the_options_of_its_default_configuration() -> None:
    defaults: dict[str, str | int | bool | None] = {
        "Move Overhead": 100,
        "Threads": 4,
        "Hash": 512,
        "SyzygyPath": "./syzygy/",
        "UCI_ShowWDL": True,
    }
    with chess.engine.SimpleEngine.popen_uci(FAKE_ENGINE, timeout=30) as engine:
        engine.configure(defaults)  # python-chess refuses what the engine does not offer
        result = engine.play(chess.Board(), chess.engine.Limit(nodes=10), info=chess.engine.INFO_ALL)
    assert result.move is not None
    assert "wdl" in result.info


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dejavu.engine", *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_line_says_what_it_is_and_refuses_what_it_does_not_know() -> None:
    assert run().stdout == ""  # a UCI engine, which says nothing unasked
    version = run("--version").stdout.strip()
    uci = subprocess.run(
        [sys.executable, "-m", "dejavu.engine"], input="uci\n", capture_output=True, text=True, check=True
    ).stdout
    assert uci.splitlines()[0] == f"id name {version}"
    assert "dejavu bench" in run("--help").stdout
    wrong = run("foo")
    assert wrong.returncode != 0
    assert wrong.stdout == ""
    assert wrong.stderr.startswith("dejavu: there is nothing called 'foo'")


def test_the_benchmark_is_a_command_too() -> None:
    done = run("bench", "2")
    assert done.returncode == 0
    assert "nodes per second" in done.stdout.splitlines()[-1]
