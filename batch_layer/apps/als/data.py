"""What ALS trains on and what comes of it, whichever engine trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batch_layer.apps.als.solver import Fit, Vectors

if TYPE_CHECKING:
    from typing_extensions import Self

Codes = NDArray[np.int32]


@dataclass(frozen=True)
class Preparation:
    """How events become one number for each pair of user and item.

    Attributes
    ----------
    implicit : bool
        Whether strengths add up; else the last one counts.
    log_strength, epsilon
        Whether strengths r become ln(1 + r/epsilon).
    decay_factor, zero_threshold : float
        See :func:`common.apps.als.events.decay`.
    now : int
        Milliseconds since 1970 from which ages are counted.
    """

    implicit: bool
    log_strength: bool
    epsilon: float
    decay_factor: float
    zero_threshold: float
    now: int


@dataclass(frozen=True)
class Pairs:
    """Pairs of user and item with a number each, sorted by user and then item.

    Attributes
    ----------
    user_ids, item_ids : StringArray
        All ids that have a pair, sorted.
    users, items : ndarray of int32
        For each pair the row of its ids.
    values : ndarray of float32
        Ratings or strengths.
    """

    user_ids: pa.StringArray
    item_ids: pa.StringArray
    users: Codes
    items: Codes
    values: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.values)

    def take(self, kept: NDArray[np.bool_]) -> Pairs:
        """Return the pairs of a mask, and the ids that these use."""
        user_ids, users = _in_use(self.user_ids, self.users[kept])
        item_ids, items = _in_use(self.item_ids, self.items[kept])
        return Pairs(user_ids, item_ids, users, items, self.values[kept])


@dataclass(frozen=True)
class Factorization:
    """A trained model.

    Attributes
    ----------
    user_ids, item_ids : StringArray
        Sorted.
    user_factors, item_factors : ndarray of float32
        One row for each id.
    known_items : ListArray of int32 or None
        For each user the rows of the items that the user is known to have dealt with.
    """

    user_ids: pa.StringArray
    item_ids: pa.StringArray
    user_factors: Vectors
    item_factors: Vectors
    known_items: pa.ListArray | None


class Events(Protocol):
    """Events of users with items, on the driver or on executors."""

    #: Name of what trains on them, for the manifest.
    engine: ClassVar[str]

    def time_range(self) -> tuple[int, int] | None:
        """Return the oldest and the newest timestamp (ms); None if there are no events."""

    def split_at(self, timestamp: int) -> tuple[Self, Self]:
        """Return the events strictly before `timestamp`, and those at or after it."""

    def with_past(self, past: Self) -> Self:
        """Return these events and `past` together."""

    def pairs(self, preparation: Preparation) -> Pairs:
        """Reduce the events to pairs, on the driver; those that a delete ended are left out."""

    def factorize(
        self, preparation: Preparation, fit: Fit, known_items: bool
    ) -> Factorization | None:
        """Train; None if no pair is left to train on.

        Known items are all that no delete has ended, however weak, as far as they have factors.
        """

    def release(self) -> None:
        """Free what is held outside this process's memory."""


def lists_of(users: Codes, items: Codes, n_users: int) -> pa.ListArray:
    """Return for each user the items paired with him; pairs are sorted by user."""
    offsets = np.zeros(n_users + 1, np.int32)
    np.cumsum(np.bincount(users, minlength=n_users), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(items))


def rows_of(ids: pa.StringArray, among: pa.StringArray) -> Codes:
    """Return for each of `ids` its row in `among`, -1 where it is not there."""
    rows: Codes = pc.fill_null(pc.index_in(ids, value_set=among), -1).to_numpy()
    return rows


def _in_use(ids: pa.StringArray, rows: Codes) -> tuple[pa.StringArray, Codes]:
    used = np.zeros(len(ids), bool)
    used[rows] = True
    numbers = np.cumsum(used, dtype=np.int32) - 1
    return ids.filter(pa.array(used)), numbers[rows]
