"""Processes with a teacher each, to which games are handed out."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait

from dejavu.engine.annotation.games import GameAnswer, GameTask, OwnGames, answer
from dejavu.engine.annotation.teacher import TEACHER_ERRORS, Teacher, TeacherSettings

STOP_SECONDS = 5.0


class WorkerError(ValueError):
    """A process that cannot work; the message is one sentence."""


def work(script: Connection, connection: Connection, settings: TeacherSettings, own: OwnGames) -> None:
    """A process with a teacher: says the teacher's name, or what is wrong with it, then answers tasks."""
    # Only while no process holds the script's end itself does the end of the script end the connection.
    script.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Whatever python-chess and asyncio would log is either harmless or reported as a lost game.
    logging.disable()
    teacher = Teacher(settings)
    try:
        try:
            teacher.start()
            connection.send(teacher.name)
        except TEACHER_ERRORS as error:
            connection.send(WorkerError(str(error)))
        while True:
            connection.send(answer(connection.recv(), teacher, own))
    except (KeyboardInterrupt, EOFError, ConnectionError):
        pass  # told to stop, or the script is gone
    finally:
        teacher.close()


@contextmanager
def workers(count: int, settings: TeacherSettings, own: OwnGames) -> Iterator[tuple[list[Connection], str]]:
    """Connections to processes that are ready, and their teachers' name."""
    processes: list[multiprocessing.Process] = []
    connections: list[Connection] = []
    try:
        for _ in range(count):
            ours, theirs = multiprocessing.Pipe()
            processes.append(multiprocessing.Process(target=work, args=(ours, theirs, settings, own), daemon=True))
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
        raise WorkerError("a process of this script has died; the same command goes on from here") from error
    if isinstance(message, WorkerError):
        raise message
    return message


def answers(tasks: Iterator[GameTask], connections: list[Connection]) -> Iterator[GameAnswer]:
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
            assert isinstance(done, GameAnswer)
            yield done
