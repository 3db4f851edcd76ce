"""Who guesses the next item: the model as it was trained, and the model as it is now.

Before each live event both are asked for the user's ten best new items; a hit is when the
event's item is among them.  The frozen model never learns of an event, but, like the updated
one, it does not offer what the user has had meanwhile, and it falls back on the most popular
items for users whom it does not know.  So the difference is what was learned, and nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cli.demo.data import Rating
from common.factors import FactorMatrix, read_factors

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
    def read(cls, user_factors: Path, item_factors: Path, history: Iterable[Rating]) -> FrozenModel:
        """Read the factors from a generation's files."""
        sides = []
        for path in (user_factors, item_factors):
            found = read_factors(path)
            sides.append(FactorMatrix(found.vectors.shape[1], found.ids, found.vectors))
        return cls(sides[0], sides[1], history)

    def recommend(self, user: str) -> list[str]:
        """Return the ten best items that the user has not had."""
        vector = self._users.get(user)
        if vector is None:
            return self.popular(user)
        seen = self._seen[user]
        scores = self._items.vectors @ vector
        best = np.argpartition(-scores, min(PAGE + len(seen), len(scores) - 1))
        best = best[: PAGE + len(seen)]
        ids = [self._items.ids[row] for row in best[np.argsort(-scores[best])]]
        return [item for item in ids if item not in seen][:PAGE]

    def popular(self, user: str) -> list[str]:
        """Return the ten most popular items that the user has not had."""
        seen = self._seen[user]
        found: list[str] = []
        for item in self._popular:
            if item not in seen:
                found.append(item)
                if len(found) == PAGE:
                    break
        return found

    def saw(self, rating: Rating) -> None:
        """Remember that the user has had the item."""
        self._seen[rating.user].add(rating.item)


@dataclass
class Scoreboard:
    """Hits of both models, event by event."""

    frozen: list[bool] = field(default_factory=list)
    updated: list[bool] = field(default_factory=list)
    newcomer: list[bool] = field(default_factory=list)

    def add(
        self, item: str, frozen: Sequence[str], updated: Sequence[str], newcomer: bool
    ) -> None:
        """Count one event: what came, and what either model had offered."""
        self.frozen.append(item in frozen)
        self.updated.append(item in updated)
        self.newcomer.append(newcomer)

    def __len__(self) -> int:
        return len(self.frozen)

    def rates(self, part: slice = slice(None)) -> tuple[float, float]:
        """Hit rate of the frozen and of the updated model over a part of the events."""
        frozen, updated = self.frozen[part], self.updated[part]
        if not frozen:
            return 0.0, 0.0
        return sum(frozen) / len(frozen), sum(updated) / len(updated)

    def windows(self, size: int) -> list[tuple[int, float, float]]:
        """Hit rates in consecutive windows: (events so far, frozen, updated)."""
        ends = range(size, len(self) + 1, size)
        return [(end, *self.rates(slice(end - size, end))) for end in ends]
