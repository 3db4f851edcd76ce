"""Who guesses the next item: the model as it was trained, and the model as it is now.

Before each live event both are asked for the user's ten best new items; a hit is when the
event's item is among them.  Neither may offer what the user has had meanwhile (so the one that
serves is asked for more than ten, as it learns of it some moments later), and both fall back on
the most popular items of the past for users whom they do not know.  So the difference is what
was learned, and nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice
from typing import NamedTuple

import numpy as np

from common.apps.als.pmml import read_als_pmml
from common.factors.files import read_factors
from common.factors.matrix import FactorMatrix
from common.store.generations import Generation
from demo.data import Rating

PAGE = 10


class FrozenModel:
    """The factors of one generation, as trained.

    Parameters
    ----------
    users, items : FactorMatrix
        Factors of both sides.
    history : iterable of Rating
        What it was trained on: what users have had, and what is popular.
    """

    def __init__(self, users: FactorMatrix, items: FactorMatrix, history: Iterable[Rating]) -> None:
        self._users = users
        self._items = items
        self._seen: dict[str, set[str]] = defaultdict(set)
        counts: Counter[str] = Counter()
        for rating in history:
            self._seen[rating.user].add(rating.item)
            counts[rating.item] += 1
        self._popular = [item for item, _ in counts.most_common()]

    @classmethod
    def of(cls, generation: Generation, history: Iterable[Rating]) -> FrozenModel:
        """Read the factors from the files that the generation's PMML names."""
        model = read_als_pmml(generation.model_text())
        sides = []
        for name in (model.user_factors, model.item_factors):
            found = read_factors(generation.path(name))
            sides.append(FactorMatrix(model.features, found.ids, found.vectors))
        return cls(sides[0], sides[1], history)

    def knows_user(self, user: str) -> bool:
        """Whether the user was there when the model was trained."""
        return user in self._users

    def knows_item(self, item: str) -> bool:
        """Whether the item was there when the model was trained."""
        return item in self._items

    def recommend(self, user: str) -> list[str]:
        """Return the ten best items that the user has not had."""
        vector = self._users.get(user)
        if vector is None:
            return self.popular(user)
        seen = self._seen[user]
        scores = self._items.vectors @ vector
        best = np.argpartition(-scores, min(PAGE + len(seen), len(scores) - 1))
        best = best[: PAGE + len(seen)]
        return self.unseen(user, (self._items.ids[row] for row in best[np.argsort(-scores[best])]))

    def unseen(self, user: str, items: Iterable[str]) -> list[str]:
        """Return the first ten of these items that the user has not had."""
        seen = self._seen[user]
        return list(islice((item for item in items if item not in seen), PAGE))

    def popular(self, user: str) -> list[str]:
        """Return the ten most popular items that the user has not had."""
        return self.unseen(user, self._popular)

    def saw(self, rating: Rating) -> None:
        """Remember that the user has had the item."""
        self._seen[rating.user].add(rating.item)


class Rates(NamedTuple):
    """Hit rates, 0 to 1, of both models over the same events."""

    frozen: float
    updated: float


@dataclass
class Scoreboard:
    """Hits of both models, event by event."""

    frozen: list[bool] = field(default_factory=list)
    updated: list[bool] = field(default_factory=list)
    newcomer: list[bool] = field(default_factory=list)

    def add(self, item: str, frozen: Sequence[str], updated: Sequence[str], newcomer: bool) -> None:
        """Count one event: what came, and what either model had offered."""
        self.frozen.append(item in frozen)
        self.updated.append(item in updated)
        self.newcomer.append(newcomer)

    def __len__(self) -> int:
        """Return the number of events."""
        # The last list to grow: a reader on another thread sees whole events only.
        return len(self.newcomer)

    def rates(self, part: slice = slice(None)) -> Rates | None:
        """Hit rates over a part of the events; None where there are none."""
        n_events = len(self)
        return _rates(self.frozen[:n_events][part], self.updated[:n_events][part])

    def newcomers(self) -> Rates | None:
        """Hit rates over the events of users whom the frozen model does not know."""
        chosen = list(self.newcomer)
        return _rates(list(compress(self.frozen, chosen)), list(compress(self.updated, chosen)))

    def fifths(self) -> tuple[Rates | None, Rates | None]:
        """Hit rates over the first and over the last fifth of the events."""
        n_events = len(self)
        size = n_events // 5
        return self.rates(slice(size)), self.rates(slice(n_events - size, n_events))

    def windows(self, size: int) -> Iterator[tuple[int, Rates]]:
        """Yield hit rates in consecutive windows, each with the number of events so far."""
        for end in range(size, len(self) + 1, size):
            rates = self.rates(slice(end - size, end))
            assert rates is not None
            yield end, rates


def _rates(frozen: Sequence[bool], updated: Sequence[bool]) -> Rates | None:
    if not frozen:
        return None
    return Rates(sum(frozen) / len(frozen), sum(updated) / len(updated))
