"""What came of a demo of examples."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from demo.act import Act, measures_table
from demo.next_steps import Kept, next_steps


@dataclass(frozen=True)
class StreamSummary:
    """Everything that the demo has measured.

    Attributes
    ----------
    act : Act
        What was shown.
    kept : Kept
        What stays.
    acknowledged, updates : int
        Events that the broker has acknowledged, and updates that the served model has taken in.
    live_seconds, first_answer_seconds : float
        How long the live events took, and the first prediction from the start of the demo.
    url : str
        Address of the console while the serving layer runs.
    running : bool
        Whether it still does.
    """

    act: Act
    kept: Kept
    acknowledged: int
    updates: int
    live_seconds: float
    first_answer_seconds: float
    url: str
    running: bool

    def to_json(self) -> dict[str, object]:
        """Return it as values that JSON knows."""
        values = {n: v for n, v in vars(self).items() if n not in ("act", "kept")}
        events = {"past": len(self.act.past), "live": len(self.act.live)}
        return values | vars(self.kept) | {"events": events} | self.act.results()

    def show(self, console: Console) -> None:
        """Print it for people."""
        sent = len(self.act.past) + len(self.act.live)
        rows = {
            "first prediction": f"{self.first_answer_seconds:.1f} s after the start",
            "events acknowledged": f"{self.acknowledged:,} of {sent:,} sent",
            "live": f"{len(self.act.live):,} events in {self.live_seconds:.0f} s, "
            f"{self.updates:,} updates of the model",
        }
        table = Table.grid(padding=(0, 2, 0, 0))
        for name, value in rows.items():
            table.add_row(Text(name, "dim"), value)
        following = next_steps(self.kept, self.url if self.running else "")
        console.print(Group("", measures_table(self.act), "", table, "", following))
