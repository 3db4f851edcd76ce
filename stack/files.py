"""Small files that other processes read at any time."""

from __future__ import annotations

from pathlib import Path


def last_lines(path: Path, count: int = 8) -> str:
    """Return the end of a text file; empty if it is not there."""
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
    except FileNotFoundError:
        return ""


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader finds the old text or the new one, whole."""
    aside = path.with_suffix(".new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
