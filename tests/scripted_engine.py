"""A UCI engine for tests that does as its arguments say, within milliseconds and without a network.

    python scripted_engine.py score=-900 crash=3 log=FILE

score=CENTIPAWNS   what it says of every position (0)
line=MOVES         the line that it expects, of every position
chance=SEED        says -1000, 0 or 1000 by chance instead
crash=N            ends at its Nth `go` of a game
illegal=N          answers the Nth `go` of a game with an illegal move
late=N             answers the Nth `go` of a game after half a second
pause=SECONDS      waits so long before every answer
hang=N             never answers the Nth `go` of a game, nor anything after
startup=fail       ends before uciok
plays=last         plays the last legal move in alphabetical order
name=WORD          what it calls itself, as in "WORD 1"; it then offers the option Learn
log=FILE           writes its process number and what it is sent
It plays the first legal move in alphabetical order, or a mate in one.
"""

from __future__ import annotations

import os
import random
import sys
import time

import chess


def choose(board: chess.Board) -> chess.Move:
    moves = sorted(board.legal_moves, key=chess.Move.uci)
    for move in moves:
        board.push(move)
        mates = board.is_checkmate()
        board.pop()
        if mates:
            return move
    return moves[0]


def main() -> None:
    script = dict(word.split("=", 1) for word in sys.argv[1:])
    if script.get("startup") == "fail":
        sys.exit("no licence")
    chance = random.Random(int(script["chance"])) if "chance" in script else None
    at = {name: int(script.get(name, 0)) for name in ("crash", "illegal", "late", "hang")}
    board = chess.Board()
    asked = 0
    log = open(script.get("log", os.devnull), "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - until it ends
    log.write(f"pid {os.getpid()}\n")
    for line in sys.stdin:
        log.write(line)
        command, _, rest = line.strip().partition(" ")
        if command == "uci":
            if "name" in script:
                print("option name Learn type combo default read var off var read var on")
            print(f"id name {script['name'] + ' 1' if 'name' in script else 'Scripted'}\nid author tests")
            print("option name Style type combo default calm var calm var wild")
            print("option name Hash type spin default 16 min 1 max 64\nuciok", flush=True)
        elif command == "isready":
            print("readyok", flush=True)
        elif command == "ucinewgame":
            asked = 0
        elif command == "position":
            start, _, moves = rest.partition(" moves ")
            board = chess.Board() if start == "startpos" else chess.Board(start.removeprefix("fen "))
            for move in moves.split():
                board.push_uci(move)
        elif command == "go":
            asked += 1
            if asked == at["crash"]:
                print("out of luck", file=sys.stderr, flush=True)
                sys.exit(3)
            if asked == at["hang"]:
                time.sleep(3600)
            time.sleep(float(script.get("pause", 0)))
            if asked == at["late"]:
                time.sleep(0.5)
            score = chance.choice((-1000, 0, 0, 1000)) if chance else int(script.get("score", 0))
            move = "e1e8" if asked == at["illegal"] else choose(board).uci()
            if script.get("plays") == "last":
                move = max(move.uci() for move in board.legal_moves)
            line = f" pv {script['line']}" if "line" in script else ""
            print(f"info depth 7 nodes 42 score cp {score}{line}\nbestmove {move}", flush=True)
        elif command == "quit":
            break


if __name__ == "__main__":
    main()
