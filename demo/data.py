"""The demo's ratings: MovieLens-100k out of a package, or a file of the user's own.

MovieLens may not be redistributed, so it is not part of this repository: the demo takes it
from the wheel of recbole, which carries it, and checks that it is the file it knows.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.base.lines import join_line
from demo.packages import Member, Package, tables
from stack.errors import UserError

MOVIELENS = Package(
    title="MovieLens",
    requirement="recbole==1.2.1",
    sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    folder="ml-100k",
    members=(
        Member(
            "recbole/dataset_example/ml-100k/ml-100k.inter",
            "ml-100k.inter",
            "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
            100_000,
        ),
        Member(
            "recbole/dataset_example/ml-100k/ml-100k.item",
            "ml-100k.item",
            "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
            1_682,
        ),
    ),
    remedy="Check the network, or give ratings: --ratings FILE.",
)
#: Fewer ratings teach nobody anything.
FEWEST = 100
SESSION_SHARE = 0.5
LICENCE = (
    "MovieLens 100K: collected by GroupLens Research at the University of Minnesota "
    "(F. M. Harper and J. A. Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015). It may be "
    "used for research, not redistributed, and its use implies no endorsement."
)


@dataclass(frozen=True, slots=True)
class Rating:
    """One rating; `timestamp` in seconds since 1970."""

    user: str
    item: str
    strength: float
    timestamp: int

    def line(self) -> str:
        """Return it as a line of the input topic."""
        return join_line([self.user, self.item, str(self.strength), str(self.timestamp * 1000)])


@dataclass(frozen=True)
class Ratings:
    """Ratings in time order, and the items' titles as far as they are known."""

    name: str
    rows: list[Rating]
    titles: Mapping[str, str]
    licence: str = ""

    def title(self, item: str) -> str:
        """Return an item's title, or its id."""
        return self.titles.get(item, item)

    def split(self, fraction: float) -> tuple[list[Rating], list[Rating]]:
        """Split in time: the first `fraction` of the rows, and the rest."""
        boundary = round(len(self.rows) * fraction)
        return self.rows[:boundary], self.rows[boundary:]


def side_by_side(rows: Sequence[Rating], share: float = SESSION_SHARE) -> list[Rating]:
    """Reorder a stream so that its users are there at the same time, as on a busy site.

    In MovieLens a user's ratings all come within minutes, and rarely two users at once: played
    a thousand times faster, a session would be over before anybody could react to it.  So each
    session is stretched over `share` of the stream, from its first event on.  The order of
    every user's own events stays.

    Parameters
    ----------
    rows : sequence of Rating
        In time order.
    share : float
        Part of the stream that a session is stretched over.
    """
    lengths = Counter(rating.user for rating in rows)
    first: dict[str, int] = {}
    come: Counter[str] = Counter()
    places = []
    for index, rating in enumerate(rows):
        start = first.setdefault(rating.user, index)
        done = come[rating.user] / lengths[rating.user]
        come[rating.user] += 1
        places.append((start + done * share * len(rows), index))
    return [rows[index] for _, index in sorted(places)]


def movielens(cache: Path, package: Package = MOVIELENS) -> Ratings:
    """Return MovieLens-100k: 100,000 ratings by 943 users of 1,682 films.

    Parameters
    ----------
    cache : Path
        Folder that keeps the files between two runs.
    package : Package
        Has the ratings and the films, in this order.

    Raises
    ------
    UserError
        If the package cannot be downloaded or is not the one expected.
    """
    inter, item = tables(package, cache)
    titles = {
        row["item_id:token"]: f"{row['movie_title:token_seq']} ({row['release_year:token']})"
        for row in _tsv(item)
    }
    rows = [
        Rating(
            row["user_id:token"],
            row["item_id:token"],
            float(row["rating:float"]),
            int(float(row["timestamp:float"])),
        )
        for row in _tsv(inter)
    ]
    return Ratings("MovieLens 100K", _in_time_order(rows), titles, LICENCE)


def ratings_file(path: Path) -> Ratings:
    """Return the ratings of a file: lines ``user,item,strength,timestamp`` (seconds or ms).

    Raises
    ------
    UserError
        If it cannot be read, or a line is not of that form; the line is named.
    """
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            rows = list(_parse(path, lines))
    except (UnicodeDecodeError, csv.Error) as error:
        message = f"{path} is not CSV in UTF-8: {error}"
        raise UserError(message) from None
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise UserError(message) from None
    if len(rows) < FEWEST:
        message = f"{path} holds {len(rows)} ratings; the demo wants at least {FEWEST}"
        raise UserError(message)
    return Ratings(path.name, _in_time_order(rows), {})


def _parse(path: Path, lines: Iterable[str]) -> Iterator[Rating]:
    for number, row in enumerate(csv.reader(lines), 1):
        try:
            yield _rating(row)
        except ValueError:
            message = f"{path}, line {number} is not user,item,strength,timestamp: {row!r}"
            raise UserError(message) from None


def _rating(row: list[str]) -> Rating:
    user, item, strength, timestamp = row
    seconds = float(timestamp)
    # A time in milliseconds would lie thousands of years ahead.
    seconds = seconds / 1000 if seconds > 100_000_000_000 else seconds
    if not (user and item and math.isfinite(float(strength)) and seconds >= 1):
        raise ValueError
    return Rating(user, item, float(strength), int(seconds))


def _in_time_order(rows: list[Rating]) -> list[Rating]:
    return sorted(rows, key=lambda rating: rating.timestamp)


def _tsv(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        yield from csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
