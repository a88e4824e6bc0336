"""The server of the page: this computer alone, and no other page of the same browser.

It listens on 127.0.0.1. Whoever asks for more than the page itself must show the token that is behind the `#` of the
address, which a browser never sends by itself; the name in the request must be that of this computer, so that no other
site can pretend to be it (DNS rebinding). Requests name no files.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from html import escape
from importlib.resources import files
from typing import Any

import chess.svg
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from dejavu.engine.explore.explorer import QUESTION_ERRORS, Explorer, pasted
from dejavu.engine.pages.parts import STYLE, resource
from dejavu.retrieval.text import plain

HOST = "127.0.0.1"
TOKEN_HEADER = "x-dejavu-token"
LARGEST_QUESTION = 1_000_000
"""Bytes."""

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    # The pieces have style attributes; the icon is empty.
    "style-src-attr 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class _RefusedError(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def application(explorer: Explorer, token: str) -> Starlette:
    """The page and what it asks."""
    pieces = "".join(chess.svg.PIECES.values())
    page = _own("explore.html").replace("<!-- pieces -->", pieces)
    documents = {
        "/": (page, "text/html"),
        "/style.css": (STYLE + resource("game.css") + _own("explore.css"), "text/css"),
        "/board.js": (resource("board.js"), "text/javascript"),
        "/explore.js": (_own("explore.js"), "text/javascript"),
    }

    def serve(text: str, kind: str) -> Callable[[Request], Response]:
        return lambda request: Response(text, media_type=kind, headers=_HEADERS)

    def api(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                question = await _question(request, token)
                return JSONResponse(await run_in_threadpool(answer, question), headers=_HEADERS)
            except _RefusedError as error:
                return JSONResponse({"error": str(error)}, error.status, headers=_HEADERS)
            except QUESTION_ERRORS as error:
                return JSONResponse({"error": plain(str(error))}, 400, headers=_HEADERS)

        return endpoint

    questions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "position": lambda asked: explorer.position(_fen(asked), _moves(asked)),
        "search": lambda asked: explorer.search(_fen(asked), _moves(asked)),
        "paste": lambda asked: pasted(_text(asked, "text")),
        "teach": lambda asked: explorer.teach(_fen(asked), _moves(asked), _text(asked, "move")),
        "forget": lambda asked: explorer.forget(_fen(asked), _moves(asked)),
    }
    return Starlette(
        routes=[
            *(Route(path, serve(*document)) for path, document in documents.items()),
            *(Route(f"/api/{name}", api(answer), methods=["POST"]) for name, answer in questions.items()),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
        exception_handlers={404: _not_here, 405: _not_here},
    )


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _not_here(request: Request, error: Exception) -> Response:
    return HTMLResponse(f"<p>there is no {escape(request.url.path)}</p>", 404, headers=_HEADERS)


async def _question(request: Request, token: str) -> dict[str, Any]:
    """The body of a request that may ask. Raises _RefusedError."""
    shown = request.headers.get(TOKEN_HEADER, "")
    if not secrets.compare_digest(shown.encode(), token.encode()):
        raise _RefusedError(403, "open the address that `dejavu explore` has printed: the token is missing or wrong")
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise _RefusedError(415, "a question is JSON")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_QUESTION:
            raise _RefusedError(413, f"a question has at most {LARGEST_QUESTION:,} bytes")
    try:
        question = json.loads(body)
    except (ValueError, RecursionError):
        question = None
    if not isinstance(question, dict):
        raise _RefusedError(400, "a question is a JSON object")
    return question


def _text(question: dict[str, Any], name: str) -> str:
    value = question.get(name)
    if not isinstance(value, str):
        raise _RefusedError(400, f"'{name}' is to be a text")
    return value


def _fen(question: dict[str, Any]) -> str | None:
    return None if question.get("fen") is None else _text(question, "fen")


def _moves(question: dict[str, Any]) -> list[str]:
    moves = question.get("moves")
    if not isinstance(moves, list) or not all(isinstance(move, str) for move in moves):
        raise _RefusedError(400, "'moves' is to be a list of moves")
    return moves
