"""Text from files and other programs, made fit to be shown."""

from __future__ import annotations


def plain(text: str) -> str:
    """`text` in one line, without what a terminal or a browser obeys rather than shows.

    Left out are control characters, such as the escape that begins a terminal's commands, and those that turn the
    direction of writing; blanks of any kind, line breaks among them, become single spaces.
    """
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " * letter.isspace() for letter in text)
    return " ".join(text.split())


def shortened(text: str, letters: int) -> str:
    """`text`, or its beginning and "..." where it is longer than so many letters."""
    return text if len(text) <= letters else text[: letters - 3].rstrip() + "..."
