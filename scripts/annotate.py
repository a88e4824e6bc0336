"""Let a UCI engine, the teacher, judge every position of games: its own, begun at random openings, or given ones.

    python scripts/annotate.py --engine stockfish --games 1000 --nodes 1200 --out runs/own.pgn
    python scripts/annotate.py --engine stockfish games.pgn.zst more.pgn --nodes 1200 --out runs/labelled.pgn

The output is PGN in the Lichess convention, which prepare_data.py reads: `[%eval x]` after every move, and the
teacher's move as a variation beside a move that is another. Of given games only the moves played and the headers are
kept. Started again with the same arguments, the script goes on after the games that are whole in the output.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import multiprocessing
import os
import re
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import NamedTuple

import chess
import chess.engine
import chess.pgn
from command_line.arguments import OPENINGS, option, positive
from prepare_data import BROKEN_GAMES_NAMED, open_games
from tqdm import tqdm

from dejavu.engine.match.players import PlayerError, find_program
from dejavu.model.training.games import BrokenGameError, read_game, split_games

RESIGN_CENTIPAWNS = 1500
RESIGN_PLIES = 10
MATE_CENTIPAWNS = 100_000
RESULTS = ("1-0", "1/2-1/2", "0-1", "*")
TEACHER_OPTIONS = {"Threads": "1", "Hash": "16"}
"""Set where the teacher has them: every process has a teacher, and a search is small."""
START_SECONDS = 60.0
STOP_SECONDS = 5.0
SOURCE_TAG = "LabelledFrom"
"""Header of a given game that says where it was found; a game of the teacher's own has its number as the Round."""
TEACHER_ERRORS = (chess.engine.EngineError, asyncio.TimeoutError, OSError)


class AnnotateError(ValueError):
    """What prevents the work; the message is one sentence."""


@dataclass(frozen=True)
class Task:
    """A game to play, or to label where there is a text."""

    where: str
    """File and number of a given game; the number of the teacher's own."""
    text: str = ""


@dataclass(frozen=True)
class Answer:
    """What became of a task."""

    text: str = ""
    """The PGN, empty for a game without moves or with a problem."""
    problem: str = ""
    result: str = "*"
    positions: int = 0
    random_moves: int = 0


@dataclass(frozen=True)
class Verdict:
    """The teacher's view of a position, or the rules' where the game is over."""

    best: chess.Move | None
    score: chess.engine.PovScore | None
    outcome: chess.Outcome | None = None


class Opening(NamedTuple):
    """Where a game of the teacher's own begins."""

    name: str
    fen: str


class Teacher:
    """A UCI engine that is started when it is needed, again after it failed."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.engine: chess.engine.SimpleEngine | None = None
        self.name = ""
        # The time bounds a search that hangs: python-chess waits for an answer only where there is a time.
        seconds = args.movetime / 1000 if args.movetime else args.patience
        self.limit = chess.engine.Limit(nodes=args.nodes, time=seconds)

    def start(self) -> chess.engine.SimpleEngine:
        if self.engine is None:
            # Signals of the terminal are for the script alone, which ends its teachers itself.
            self.engine = chess.engine.SimpleEngine.popen_uci(self.args.engine, timeout=START_SECONDS, setpgrp=True)
            self.engine.timeout = self.args.patience
            offered = self.engine.options
            usual = {name: value for name, value in TEACHER_OPTIONS.items() if name in offered}
            self.engine.configure({**usual, **dict(text.split("=", 1) for text in self.args.option)})
            pace = f"{self.args.nodes} nodes" if self.args.nodes else f"{self.args.movetime} ms"
            self.name = f"{self.engine.id.get('name', self.args.engine[0])}, {pace}"
        return self.engine

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    def judge(self, board: chess.Board, game: object, claim_draw: bool) -> Verdict:
        """Best move and evaluation of a position of `game`; the teacher forgets all between games."""
        outcome = board.outcome(claim_draw=claim_draw)
        if outcome is not None:
            draw = chess.engine.PovScore(chess.engine.Cp(0), chess.WHITE)
            return Verdict(None, None if outcome.winner is not None else draw, outcome)
        found = self.start().play(board, self.limit, game=game, info=chess.engine.INFO_SCORE)
        if found.move is None:
            raise chess.engine.EngineError(f"no move in {board.fen()}")
        # The last score, even where it is a bound: measured, it is nearer to a long search's than the last exact one.
        return Verdict(found.move, found.info.get("score"))


class OwnMoves:
    """Chooses the moves of a game of the teacher's own, and ends it."""

    def __init__(self, random: Random, args: argparse.Namespace) -> None:
        self.random = random
        self.args = args
        self.random_plies = random.randint(*args.random_plies)
        self.random_moves = 0
        self.lost_side = 0
        self.lost_plies = 0
        self.result, self.termination = "*", "unterminated"

    def __call__(self, board: chess.Board, verdict: Verdict) -> chess.Move | None:
        if verdict.outcome is not None:
            self.result, self.termination = verdict.outcome.result(), "normal"
            return None
        if self._is_lost(verdict.score):
            self.result, self.termination = "1-0" if self.lost_side > 0 else "0-1", "adjudication"
            return None
        ply = len(board.move_stack)
        if ply >= self.args.plies:
            return None
        if ply < self.random_plies or self.random.random() < self.args.random_moves:
            self.random_moves += 1
            return self.random.choice(list(board.legal_moves))
        return verdict.best

    def _is_lost(self, score: chess.engine.PovScore | None) -> bool:
        """Whether one side has been lost for long enough; `lost_side` is 1 where that is Black, -1 for White."""
        white = 0 if score is None else score.white().score(mate_score=MATE_CENTIPAWNS)
        side = 0 if abs(white) < RESIGN_CENTIPAWNS else 1 if white > 0 else -1
        self.lost_plies = self.lost_plies + 1 if side and side == self.lost_side else abs(side)
        self.lost_side = side
        return self.lost_plies >= RESIGN_PLIES


def after_best(score: chess.engine.PovScore | None) -> chess.engine.PovScore | None:
    """The evaluation after the best move: the same, but for a mate that is a move nearer now."""
    mate = None if score is None else score.relative.mate()
    if score is None or mate is None or mate <= 0:
        return score
    return chess.engine.PovScore(chess.engine.Mate(mate - 1), score.turn) if mate > 1 else None


NextMove = Callable[[chess.Board, Verdict], "chess.Move | None"]


def write_moves(game: chess.pgn.Game, teacher: Teacher, next_move: NextMove, claim_draw: bool) -> int:
    """Add moves with the teacher's evaluations and better moves until there is no next one; counts the positions."""
    board = game.board()
    node: chess.pgn.GameNode = game
    while True:
        verdict = teacher.judge(board, game, claim_draw)
        node.set_eval(verdict.score)
        move = next_move(board, verdict)
        if move is None:
            return len(board.move_stack) + 1
        following = node.add_main_variation(move)
        if verdict.best is not None and verdict.best != move:
            node.add_variation(verdict.best).set_eval(after_best(verdict.score))
        node = following
        board.push(move)


def to_text(game: chess.pgn.Game) -> str:
    """PGN of a game: headers, an empty line, all moves in one line, an empty line."""
    return game.accept(chess.pgn.StringExporter(columns=None)) + "\n\n"


def own_game(number: str, teacher: Teacher, openings: list[Opening], args: argparse.Namespace) -> Answer:
    """Play a game that depends on the seed and its number only, whoever plays it and when."""
    opening = openings[(int(number) - 1) % len(openings)]
    game = chess.pgn.Game()
    game.setup(chess.Board(opening.fen))
    moves = OwnMoves(Random(f"{args.seed} {number}"), args)
    positions = write_moves(game, teacher, moves, claim_draw=True)
    game.headers.update(Event="Dejavu training", Date=date.today().strftime("%Y.%m.%d"), Round=number)
    game.headers.update(White=teacher.name, Black=teacher.name, Annotator=teacher.name, Seed=str(args.seed))
    game.headers.update(Result=moves.result, Termination=moves.termination)
    if match := re.fullmatch(r"(?:([A-E]\d\d) )?(.+)", opening.name):
        game.headers.update({"ECO": match[1], "Opening": match[2]} if match[1] else {"Opening": match[2]})
    return Answer(to_text(game), "", moves.result, positions, moves.random_moves)


def labelled_game(task: Task, teacher: Teacher) -> Answer:
    """Label every position of a given game; BrokenGameError where training could not read it."""
    read_game(task.text)
    given = chess.pgn.read_game(io.StringIO(task.text))
    if given is None or given.next() is None:
        return Answer()
    game = chess.pgn.Game(given.headers)
    moves = iter(given.mainline_moves())
    positions = write_moves(game, teacher, lambda *_: next(moves, None), claim_draw=False)
    result = game.headers.get("Result", "*")
    # The parser takes any text for a result, but as the last word of the moves it has to be one.
    result = result if result in RESULTS else "*"
    game.headers.update({"Result": result, "Annotator": teacher.name, SOURCE_TAG: task.where})
    return Answer(to_text(game), "", result, positions)


def answer(task: Task, teacher: Teacher, openings: list[Opening], args: argparse.Namespace) -> Answer:
    """Do a task; a teacher that fails is started anew once, then the game is given up."""
    problem = ""
    for _ in range(2):
        try:
            return labelled_game(task, teacher) if task.text else own_game(task.where, teacher, openings, args)
        except BrokenGameError as error:
            return Answer(problem=f"broken: {task.where}: {error}")
        except TEACHER_ERRORS as error:
            teacher.close()
            where = task.where if task.text else f"game {task.where}"
            problem = f"lost: {where}: the teacher failed twice: {error or 'no answer'}"
    return Answer(problem=problem)


def work(script: Connection, connection: Connection, openings: list[Opening], args: argparse.Namespace) -> None:
    """A process with a teacher: says the teacher's name, or what is wrong with it, then answers tasks."""
    # Only while no process holds the script's end itself does the end of the script end the connection.
    script.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Whatever python-chess and asyncio would log is either harmless or reported as a lost game.
    logging.disable()
    teacher = Teacher(args)
    try:
        try:
            teacher.start()
            connection.send(teacher.name)
        except TEACHER_ERRORS as error:
            command = " ".join(args.engine)
            connection.send(AnnotateError(f"the teacher does not start as `{command}`: {error or 'no answer'}"))
        while True:
            connection.send(answer(connection.recv(), teacher, openings, args))
    except (KeyboardInterrupt, EOFError, ConnectionError):
        pass  # told to stop, or the script is gone
    finally:
        teacher.close()


@contextmanager
def workers(openings: list[Opening], args: argparse.Namespace) -> Iterator[tuple[list[Connection], str]]:
    """Connections to processes that are ready, and their teachers' name."""
    processes: list[multiprocessing.Process] = []
    connections: list[Connection] = []
    try:
        for _ in range(args.processes):
            ours, theirs = multiprocessing.Pipe()
            processes.append(multiprocessing.Process(target=work, args=(ours, theirs, openings, args), daemon=True))
            processes[-1].start()
            theirs.close()
            connections.append(ours)
        names = [receive(connection) for connection in connections]
        yield connections, str(names[0])
    finally:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()


def receive(connection: Connection) -> object:
    """What a process has to say; raises the error that it sends."""
    try:
        message = connection.recv()
    except (EOFError, ConnectionError) as error:
        raise AnnotateError("a process of this script has died; the same command goes on from here") from error
    if isinstance(message, AnnotateError):
        raise message
    return message


def answers(tasks: Iterator[Task], connections: list[Connection]) -> Iterator[Answer]:
    """Hand out the tasks, and give the answers as they come."""
    busy = []
    for connection in connections:
        if (task := next(tasks, None)) is not None:
            connection.send(task)
            busy.append(connection)
    while busy:
        ready = wait(busy)
        for connection in [connection for connection in busy if connection in ready]:
            done = receive(connection)
            if (task := next(tasks, None)) is None:
                busy.remove(connection)
            else:
                connection.send(task)
            assert isinstance(done, Answer)
            yield done


def games_done(out: Path, teacher: str, seed: int) -> set[str]:
    """The games in the output, after a last one that a kill has cut short is taken off.

    Raises AnnotateError for a file that holds anything else than games of this teacher and seed.
    """
    done: set[str] = set()
    if not out.exists():
        return done
    whole = 0
    # Every byte has to be counted, also those of a letter that was cut in two.
    with out.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        games = split_games(file)
        for text in games:
            headers = chess.pgn.read_headers(io.StringIO(text)) or chess.pgn.Headers()
            is_ours = headers.get("Annotator") == teacher
            is_ours &= SOURCE_TAG in headers or headers.get("Seed") == str(seed)
            is_ours |= text.startswith("[") and "\n\n" not in text  # cut short before it could say so
            is_whole = text.endswith("\n\n") and text.count("\n\n") == 2
            if not is_ours or (not is_whole and next(games, None) is not None):
                raise AnnotateError(
                    f"{out}, game {len(done) + 1} is not by '{teacher}' with these arguments; choose another --out"
                )
            if is_whole:
                done.add(headers.get(SOURCE_TAG) or headers.get("Round", ""))
                whole += len(text.encode("utf-8", "surrogateescape"))
    os.truncate(out, whole)
    return done


def tasks_left(args: argparse.Namespace, done: set[str]) -> Iterator[Task]:
    """The games that are not in the output yet."""
    for number in map(str, range(1, args.games + 1)):
        if number not in done:
            yield Task(number)
    for path in args.given:
        with open_games(path) as lines:
            for index, text in enumerate(split_games(lines), 1):
                if (where := f"{path}, game {index}") not in done:
                    yield Task(where, text)


def read_openings(path: Path) -> list[Opening]:
    """Openings of a PGN file (the end of every game), a TSV file (ECO, name, moves) or an EPD file."""
    openings = []
    with open_games(path) as lines:
        is_pgn = ".pgn" in path.suffixes
        for number, text in enumerate(split_games(lines) if is_pgn else lines, 1):
            if not text.strip():
                continue
            try:
                if is_pgn or path.suffix == ".tsv":
                    eco, name, moves = ("", "", text) if is_pgn else text.split("\t")
                    game = chess.pgn.read_game(io.StringIO(moves))
                    if game is None or game.errors:
                        raise ValueError(game.errors[0] if game else "no moves")
                    board = game.end().board()
                    name = f"{game.headers.get('ECO', eco)} {game.headers.get('Opening', name)}".strip()
                else:
                    board, operations = chess.Board.from_epd(text)
                    name = str(operations.get("id", ""))
            except ValueError as error:
                raise AnnotateError(f"{path}, opening {number}: {error}") from error
            if not board.is_valid():
                raise AnnotateError(f"{path}, opening {number} is not a legal position")
            # Tables of openings hold quick mates, too.
            if not board.is_game_over():
                openings.append(Opening(name, board.fen()))
    if not openings:
        raise AnnotateError(f"{path} holds no openings that can be played on")
    return openings


class Totals:
    """What this run has done."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.results: Counter[str] = Counter()
        self.positions = self.moves = self.random_moves = 0
        self.problems: list[str] = []

    def add(self, done: Answer) -> None:
        if done.problem:
            self.problems.append(done.problem)
        elif done.text:
            self.results[done.result] += 1
            self.positions += done.positions
            self.moves += done.positions - 1
            self.random_moves += done.random_moves

    def print(self) -> None:
        """Sum up, and name the games that were not done."""
        seconds = time.monotonic() - self.start
        for line in self.problems[:BROKEN_GAMES_NAMED]:
            print(line, file=sys.stderr)
        if len(self.problems) > BROKEN_GAMES_NAMED:
            print(f"and {len(self.problems) - BROKEN_GAMES_NAMED} more", file=sys.stderr)
        lost = sum(line.startswith("lost:") for line in self.problems)
        broken = len(self.problems) - lost
        print(f"{self.results.total():,} games, {broken:,} broken games skipped, {lost:,} lost by the teacher")
        print(f"{self.positions:,} positions, {self.positions / seconds:,.0f} a second")
        wins, draws, losses, none = (self.results[result] for result in RESULTS)
        print(f"White won {wins:,}, drew {draws:,}, lost {losses:,}; {none:,} without a result")
        print(f"random moves: {100 * self.random_moves / max(self.moves, 1):.1f} %")


def run(args: argparse.Namespace) -> None:
    """Do what is left of the work and sum it up."""
    openings = read_openings(args.openings) if args.games else []
    # A sorted table would otherwise give a few games nothing but its first letters.
    Random(args.seed).shuffle(openings)
    args.engine[0] = find_program(args.engine[0])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with workers(openings, args) as (connections, teacher):
        done = games_done(args.out, teacher, args.seed)
        totals = Totals()
        try:
            with args.out.open("ab") as file, tqdm(unit=" positions", unit_scale=True, smoothing=0.05) as progress:
                for answered in answers(tasks_left(args, done), connections):
                    totals.add(answered)
                    if answered.text:
                        file.write(answered.text.encode())
                        file.flush()
                        os.fsync(file.fileno())
                        progress.update(answered.positions)
        finally:
            totals.print()
            print(f"{args.out} holds {len(done) + totals.results.total():,} games, {len(done):,} from before")


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not between 0 and 1")
    return value


def seconds(text: str) -> float:
    """Parse a number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return value


def span(text: str) -> tuple[int, int]:
    """Parse LOW-HIGH or one number."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise argparse.ArgumentTypeError(f"'{text}' is not LOW-HIGH")
    return int(match[1]), int(match[2] or match[1])


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("given", nargs="*", type=Path, metavar="PGN", help="games to label, plain or .zst, .bz2, .gz")
    parser.add_argument("--engine", required=True, metavar="CMD", help="the teacher's command")
    parser.add_argument("--option", type=option, action="append", default=[], metavar="NAME=VALUE", help="UCI option")
    pace = parser.add_mutually_exclusive_group(required=True)
    pace.add_argument("--nodes", type=positive, help="the teacher's nodes a position")
    pace.add_argument("--movetime", type=positive, help="its milliseconds a position, instead")
    parser.add_argument("--patience", type=seconds, default=60.0, help="seconds until a silent teacher has failed (60)")
    parser.add_argument("--out", type=Path, required=True, help="PGN file to write or to go on with")
    parser.add_argument("--processes", type=positive, default=os.cpu_count() or 1, help="one teacher each (CPUs)")
    own = parser.add_argument_group("games of the teacher's own, where no PGN is given")
    own.add_argument("--games", type=positive, help="games of the whole file")
    own.add_argument("--seed", type=int, default=1, help="changes the random moves (1)")
    own.add_argument("--openings", type=Path, default=OPENINGS, help="EPD, PGN, or TSV file (ECO, name, moves)")
    own.add_argument("--random-plies", type=span, default=(0, 6), metavar="LOW-HIGH", help="at the start (0-6)")
    own.add_argument("--random-moves", type=share, default=0.1, help="share of random moves after that (0.1)")
    own.add_argument("--plies", type=positive, default=200, help="length at which a game stops without a result (200)")
    args = parser.parse_args()
    args.engine = shlex.split(args.engine, posix=os.name == "posix") or [""]
    if bool(args.games) == bool(args.given):
        parser.error("either name PGN files or say how many --games")
    args.games = args.games or 0
    for path in args.given:
        if not path.is_file():
            parser.error(f"game file {path} does not exist")
    return args


def main() -> None:
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(args)
    except (AnnotateError, PlayerError, OSError, EOFError) as error:
        sys.exit(f"annotate: {error}")
    except KeyboardInterrupt:
        print("annotate: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
