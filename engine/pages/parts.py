"""What all pages have in common: colours for day and night, how chances and games are written."""

from __future__ import annotations

import importlib.resources
from html import escape

from dejavu.model.remembered import Wdl
from dejavu.retrieval.names import GameName

STYLE = """
:root { color-scheme: light dark; --ink: #1c1917; --quiet: #57534e; --paper: #fafaf9; --card: #ffffff; --line: #d6d3d1;
  --with: #15803d; --without: #2563eb; --played: #b45309; --mark: #fde68a; --light: #f0d9b5; --dark: #b58863; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e5e4; --quiet: #a8a29e; --paper: #1c1917; --card: #292524; --line: #44403c; --with: #4ade80;
    --without: #60a5fa; --played: #fbbf24; --mark: #713f12; --light: #cbb592; --dark: #8a6848; } }
* { box-sizing: border-box; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem; color: var(--ink);
  background: var(--paper); overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; } h2 { font-size: 1.05rem; margin: 1.2rem 0 .4rem; }
p { margin: .3rem 0; } .quiet { color: var(--quiet); font-size: .88rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem; min-width: 0; }
svg { display: block; width: 100%; height: auto; }
"""


def resource(name: str) -> str:
    """The text of a script or style sheet that stands beside this module."""
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def document(title: str, style: str, body: str, policy: str = "") -> str:
    """A page that loads nothing from anywhere; `title` is text, `policy` what more its content may do."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'{policy}">
<title>{escape(title)}</title><style>{STYLE}{style}</style></head>
<body>{body}</body></html>
"""


def wdl_text(wdl: Wdl) -> str:
    """Win / draw / loss in per cent."""
    return " / ".join(f"{share:.0%}" for share in wdl)


def game_name(line: str) -> str:
    """The name of a game as HTML."""
    return escape(str(GameName.parse(line)))
