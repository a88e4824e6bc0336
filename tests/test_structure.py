"""Imports point one way: scripts -> engine -> model -> retrieval; in the engine, nothing that searches knows of UCI."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "retrieval": ("retrieval",),
    "model": ("model", "retrieval"),
    "engine/search": ("engine.search", "engine.options", "model", "retrieval"),
    "engine/uci": (
        "engine.uci",
        "engine.search",
        "engine.options",
        "engine.loader",
        "engine.seeing",
        "model",
        "retrieval",
    ),
    "engine": ("engine", "model", "retrieval"),
}
"""Folder and what of `dejavu` its modules may import."""


def imported(path: Path) -> list[str]:
    """The modules of `dejavu` that a file imports, anywhere in it, without the `dejavu.`."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        elif isinstance(node, ast.Import):
            names += [name.name for name in node.names]
    return [name.removeprefix("dejavu.") for name in names if name.split(".")[0] in ("dejavu", "scripts", "tests")]


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_point_one_way(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imported(path)
        if not any(name == allowed or name.startswith(f"{allowed}.") for allowed in MAY_IMPORT[folder])
    ]
    assert not wrong
