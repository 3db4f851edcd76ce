"""What came of it: the numbers at the end of the demo."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from demo.next_steps import Kept, next_steps
from demo.panel import gain
from demo.scoreboard import PAGE, Rates, Scoreboard
from demo.screen import percent


@dataclass(frozen=True)
class HitRates:
    """Hit rates of the next item, by which events; None where there are none."""

    all: Rates | None
    first_fifth: Rates | None
    last_fifth: Rates | None
    newcomers: Rates | None

    @classmethod
    def of(cls, board: Scoreboard) -> HitRates:
        """Read them off the scoreboard."""
        return cls(board.rates(), *board.fifths(), board.newcomers())

    def rows(self) -> dict[str, Rates | None]:
        """Return them by names for people."""
        return {
            "first fifth of the events": self.first_fifth,
            "last fifth": self.last_fifth,
            "all events": self.all,
            "by users who were new": self.newcomers,
        }


@dataclass(frozen=True)
class Freshness:
    """Seconds from a newcomer's first acknowledged event to recommendations.

    Attributes
    ----------
    newcomers : int
        How many became visible.
    not_visible : int
        How many did not, in the time that they were given.
    p50_seconds, p95_seconds : float or None
        Percentiles; None where nobody became visible.
    """

    newcomers: int
    not_visible: int
    p50_seconds: float | None
    p95_seconds: float | None


@dataclass(frozen=True)
class Counts:
    """Events and what they led to.

    Attributes
    ----------
    past, live : int
        Events sent before and after training.
    acknowledged : int
        Events of both kinds that the broker has acknowledged.
    updates : int
        Updates of the speed layer that the served model has taken in.
    """

    past: int
    live: int
    acknowledged: int
    updates: int


@dataclass(frozen=True)
class Summary:
    """Everything that the demo has measured.

    Attributes
    ----------
    ratings, licence : str
        What was learned from.
    app : str
        Model family.
    generation : int
        What the batch layer made.
    events, hit_rate, freshness
        See there.
    live_seconds : float
        How long the live events took.
    first_recommendation_seconds : float
        From the start of the demo to the first recommendation.
    picture, conf : str
        Files that stay.
    url : str
        Address of the console while the serving layer runs.
    running : bool
        Whether it still does.
    """

    ratings: str
    licence: str
    app: str
    generation: int
    events: Counts
    hit_rate: HitRates
    freshness: Freshness
    live_seconds: float
    first_recommendation_seconds: float
    picture: str
    conf: str
    url: str
    running: bool

    def to_json(self) -> dict[str, object]:
        """Return it as values that JSON knows; hit rates by model."""
        rates = {name: value and value._asdict() for name, value in vars(self.hit_rate).items()}
        values = vars(self) | {name: vars(getattr(self, name)) for name in ("events", "freshness")}
        return values | {"hit_rate": rates}

    def show(self, console: Console) -> None:
        """Print it for people."""
        console.print(Group("", _hit_rates(self), "", _numbers(self), "", _next(self)))


def _hit_rates(summary: Summary) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(f"hit rate@{PAGE} of the next item", no_wrap=True)
    for name in ("frozen", "updated live", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for name, rates in summary.hit_rate.rows().items():
        if rates is not None:
            updated = Text(percent(rates.updated), "bold green")
            table.add_row(name, percent(rates.frozen), updated, Text(gain(rates), "green"))
    return table


def _numbers(summary: Summary) -> Table:
    events, fresh = summary.events, summary.freshness
    rows = {
        "first recommendation": f"{summary.first_recommendation_seconds:.1f} s after the start",
        "events acknowledged": f"{events.acknowledged:,} of {events.past + events.live:,} sent",
        "live": f"{events.live:,} events in {summary.live_seconds:.0f} s, "
        f"{events.updates:,} updates of the model",
        "freshness": _freshness(fresh),
    }
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in rows.items():
        table.add_row(Text(name, "dim"), value)
    return table


def _freshness(fresh: Freshness) -> str:
    if fresh.p50_seconds is None or fresh.p95_seconds is None:
        return f"no new user became visible ({fresh.not_visible} waited)"
    told = (
        f"from a new user's first event to recommendations: p50 {fresh.p50_seconds:.2f} s, "
        f"p95 {fresh.p95_seconds:.2f} s ({fresh.newcomers} users"
    )
    return f"{told}, {fresh.not_visible} more not in time)" if fresh.not_visible else f"{told})"


def _next(summary: Summary) -> Table:
    return next_steps(
        Kept(summary.app, summary.generation, summary.conf, summary.picture),
        summary.url if summary.running else "",
    )
