"""`dejavu explore`: starts the server, and the browser."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence

from dejavu.engine.options import Config

PORT = 8642


def main(words: Sequence[str]) -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="dejavu explore", description="See in a browser what the engine remembers. Only this computer can ask."
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"of 127.0.0.1 ({PORT}); 0 is any that is free")
    parser.add_argument("--memory", default=Config().memory_file, help="as the option MemoryFile: one or several files")
    parser.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    arguments = parser.parse_args(words)
    try:
        import uvicorn

        from dejavu.engine.explore.server import HOST, application
    except ModuleNotFoundError as error:
        sys.exit(f'dejavu explore needs {error.name}: run pip install ".[explore]" in the folder of Dejavu')
    from dejavu.engine.explore.explorer import Explorer

    listening = socket.socket()
    if os.name == "posix":  # elsewhere it would let two servers share a port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, arguments.port))
    except (OSError, OverflowError) as error:
        sys.exit(
            f"dejavu explore cannot listen on {HOST}:{arguments.port}: {getattr(error, 'strerror', None) or error}"
        )
    threads = max(1, os.cpu_count() or 1)
    explorer = Explorer(dataclasses.replace(Config(), memory_file=arguments.memory, threads=threads))
    print("\n".join(explorer.start()), flush=True)
    token = secrets.token_urlsafe(24)
    address = f"http://{HOST}:{listening.getsockname()[1]}/#{token}"
    print(f"open {address} (Ctrl-C ends it)", flush=True)
    if not arguments.no_browser:
        listening.listen()  # for a browser that is quicker than the server
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    server = uvicorn.Server(uvicorn.Config(application(explorer, token), log_level="error", access_log=False))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
