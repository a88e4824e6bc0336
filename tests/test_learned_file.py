"""What a user does to the file of learned positions: shown, checked, repaired, merged, forgotten, exported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import chess
import learned as learned_script
import pytest
from test_learned import BASE, SIZE, embed

from dejavu.engine.seeing.learned import file_lines, lessons, newest_lines
from dejavu.engine.uci import learned_file
from dejavu.engine.uci.learned_file import forget_days, opened
from dejavu.model.chess.encoding import move_to_index, pack
from dejavu.model.data.games import read_game
from dejavu.retrieval.learned import LearnedMemory
from dejavu.retrieval.learned_records import HEADER_BYTES, TAUGHT, TAUGHT_NODES, LearnedFileError, Lesson

SCRIPT = Path(__file__).parent.parent / "scripts" / "learned.py"


def lesson(line: str, nodes: int = 500, **more: object) -> Lesson:
    """That the last of these moves is the best one in the position before it."""
    *before, best = line.split()
    board = chess.Board()
    for move in before:
        board.push_uci(move)
    index = move_to_index(board.parse_uci(best), board)
    black = board.turn == chess.BLACK
    found = Lesson(pack(board), 0, [index], (0.5, 0.3, 0.2), nodes, "Dejavu's game", black=black)
    return found._replace(**more)  # type: ignore[arg-type]


def learned(path: Path, *lessons: Lesson) -> LearnedMemory:
    file = LearnedMemory(path)
    file.put(lessons, BASE, embed)
    return file


def script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


def test_a_position_is_told_in_its_own_colours(tmp_path: Path) -> None:
    lessons = lesson("e2e4", result="1-0", game=77), lesson("e2e4 c7c5", result="1-0", game=77)
    file = learned(tmp_path / "a.dejavu", *lessons)
    white, black = sorted(newest_lines(file, 2), key=lambda line: " b " in line)
    today = date.today().isoformat()
    assert white.startswith(f"{today}; 1.e4; +")
    assert "; 500 nodes; Dejavu's game; 1-0; fen " in white
    assert black.startswith(f"{today}; 1...c5; -")
    assert black.endswith("fen rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1")
    memory = file.memory(BASE)
    assert memory is not None
    assert memory.games == 1  # one game, whichever side moved


def test_exported_lessons_are_read_as_games_that_teach_the_same(tmp_path: Path) -> None:
    file = learned(
        tmp_path / "a.dejavu", lesson("e2e4 c7c5"), lesson("g1f3", TAUGHT_NODES, kind=TAUGHT, wdl=(1 / 3, 1 / 3, 1 / 3))
    )
    texts = list(lessons(file))
    games = [read_game(text) for text in texts]
    assert [game.planes[0].astype("<u8").tobytes() for game in games] == [
        record["boards"].tobytes() for record in file.records
    ]
    assert [game.best[0] for game in games] == file.records["continuations"][:, 0].tolist()
    assert "1... c5" in texts[0]
    assert "%eval" not in texts[1]


def test_an_exported_line_teaches_nothing_of_the_positions_along_it(tmp_path: Path) -> None:
    board, line = chess.Board(), []
    for move in ("e2e4", "c7c5", "g1f3"):
        line.append(move_to_index(board.parse_uci(move), board))
        board.push_uci(move)
    file = learned(tmp_path / "a.dejavu", lesson("e2e4", continuation=line))
    (text,) = lessons(file)
    game = read_game(text)
    assert len(game.planes) == 1
    assert game.lines == {0: line}
    assert "1... c5 2. Nf3" in text


def test_merging_takes_over_what_is_known_better_elsewhere(tmp_path: Path) -> None:
    here = learned(tmp_path / "here.dejavu", lesson("e2e4", 500), lesson("e2e4 c7c5", 300))
    there = learned(tmp_path / "there.dejavu", lesson("d2d4", 400), lesson("e2e4 e7e5", 900), lesson("g1f3 g8f6", 200))
    seen: list[tuple[int, int]] = []
    assert here.merge(there, BASE, embed, lambda done, total: seen.append((done, total))) == 2
    best = {line.split("; ")[1] for line in newest_lines(opened(here.path), 9)}
    assert best == {"1.e4", "1...e5", "1...Nf6"}
    assert here.merge(there, BASE, embed, lambda done, total: None) == 0
    assert here.merge(LearnedMemory(tmp_path / "none"), BASE, embed, lambda done, total: None) == 0


def test_keys_of_another_network_are_made_anew_when_merged(tmp_path: Path) -> None:
    other = replace(BASE, fingerprint="11ff")
    there = LearnedMemory(tmp_path / "there.dejavu")
    there.put([lesson("e2e4")], other, lambda planes, clocks: embed(planes, clocks) * 3)
    here = learned(tmp_path / "here.dejavu", lesson("e2e4 c7c5"))
    assert here.merge(there, BASE, embed, lambda done, total: None) == 1
    memory = opened(here.path).memory(BASE)
    assert memory is not None
    assert (memory.keys == BASE.project(embed(memory.boards, memory.clocks))).all()


def test_days_are_forgotten_and_others_stay(tmp_path: Path) -> None:
    file = learned(tmp_path / "a.dejavu", lesson("e2e4"), lesson("e2e4 c7c5"))
    today = date.today()
    assert forget_days(file, date(2000, 1, 1), today - timedelta(days=365)) == 0
    assert forget_days(file, today, date.max) == 2
    assert len(opened(file.path)) == 0
    assert newest_lines(opened(file.path), 5) == []


def test_check_tells_damage_and_repair_takes_it_out(tmp_path: Path) -> None:
    file = learned(tmp_path / "a.dejavu", lesson("e2e4"), lesson("e2e4 c7c5"))
    assert script("--file", file.path, "check").returncode == 0
    data = bytearray(file.path.read_bytes())
    data[HEADER_BYTES + SIZE + 5] ^= 1
    file.path.write_bytes(data)
    checked = script("--file", file.path, "check")
    assert checked.returncode == 1
    assert "2 records, of which 0 out of date and 1 damaged" in checked.stdout
    assert opened(file.path).repair() == 1
    assert file_lines(opened(file.path))[-1] == "1 records, of which 0 out of date and 0 damaged"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["list"], "does not exist: nothing was learned yet"),
        (["forget"], "say what to forget"),
        (["merge", "nowhere.dejavu"], "nowhere.dejavu does not exist"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    done = script("--file", tmp_path / "a.dejavu", *arguments)
    assert done.returncode
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(LearnedFileError):
        opened(tmp_path / "a.dejavu")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The script in this process, with a quick network: what it says."""
    memory = tmp_path / "shipped.safetensors"
    BASE.write(memory)
    network = SimpleNamespace(fingerprint=BASE.fingerprint, embed_chunks=embed)
    monkeypatch.setattr(learned_file, "wanted", lambda config: SimpleNamespace(weights=None, memory=memory))
    monkeypatch.setattr(learned_file, "load_backbone", lambda weights, threads: network)

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        learned_script.main()
        return capsys.readouterr().out

    return run


def test_the_script_lists_merges_forgets_exports_and_repairs(tmp_path: Path, run_here: Callable[..., str]) -> None:
    here = learned(tmp_path / "here.dejavu", lesson("e2e4", 500), lesson("e2e4 c7c5", 300)).path
    there = learned(tmp_path / "there.dejavu", lesson("d2d4", 400), lesson("e2e4 e7e5", 900)).path

    def moves() -> list[str]:
        return sorted(line.split("; ")[1] for line in run_here("--file", here, "list").splitlines() if "; fen " in line)

    assert moves() == ["1...c5", "1.e4"]
    assert run_here("--file", here, "list", "--newest", 1).count("; fen ") == 1
    assert run_here("--file", here, "merge", there) == f"1 positions taken over; {here} has 2\n"
    assert moves() == ["1...e5", "1.e4"]

    pgn = tmp_path / "mine.pgn"
    assert run_here("--file", here, "export", "--out", pgn) == f"wrote {pgn}\n"
    assert pgn.read_text() == "".join(lessons(opened(here)))
    assert pgn.read_text().count("[Event ") == 2

    assert run_here("--file", here, "forget", "--fen", chess.STARTING_FEN) == "1 positions forgotten; 1 stay\n"
    assert moves() == ["1...e5"]
    data = bytearray(here.read_bytes())
    data[HEADER_BYTES + SIZE - 1] ^= 1
    here.write_bytes(data)
    assert opened(here).damaged == 1
    # That record, the move that was replaced, and what says that the first position is forgotten.
    gone = "3 records that were damaged or out of date are gone; 1 positions stay\n"
    assert run_here("--file", here, "repair") == gone
    assert opened(here).damaged == 0
    assert moves() == ["1...e5"]
    yesterday = date.today() - timedelta(days=1)
    assert "0 positions forgotten" in run_here("--file", here, "forget", "--until", yesterday)
