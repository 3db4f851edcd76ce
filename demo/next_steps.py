"""What one can do after a demo: the end of every summary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Kept:
    """What a demo leaves behind.

    Attributes
    ----------
    app : str
        Model family.
    generation : int
        What the batch layer made.
    conf, picture : str
        Files.
    """

    app: str
    generation: int
    conf: str
    picture: str


def next_steps(kept: Kept, url: str) -> Table:
    """Return where to look now; `url` is that of the console, empty where nothing runs."""
    table = Table.grid(padding=(0, 2, 0, 0))
    app = "" if kept.app == "als" else f" --app {kept.app}"
    if url:
        table.add_row(Text("console", "dim"), url)
        table.add_row(Text("stop it", "dim"), "bin/gemsbok demo --stop")
    else:
        table.add_row(Text("keep it running", "dim"), f"bin/gemsbok demo{app} --keep")
    show_model = f"bin/gemsbok model show {kept.generation} --conf {_short(kept.conf)}"
    table.add_row(Text("the model", "dim"), show_model)
    table.add_row(Text("picture", "dim"), _short(kept.picture))
    table.add_row(Text("read on", "dim"), "docs/tutorial.md, docs/architecture.md")
    return table


def _short(path: str) -> str:
    """Return the path as seen from here, where that is shorter."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
