"""ALS events on the driver, as columns in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from batch_layer.apps.als.data import Factorization, Pairs, Preparation, lists_of, rows_of
from batch_layer.apps.als.solver import Fit, factorize, n_threads
from batch_layer.history.files import in_threads
from common.apps.als.events import Interactions, decay, parse
from common.apps.als.pairs import EventsByPair, add_up_in_any_order

#: Rows read at once: many, as each call has its own price, but some for each core.
_CHUNK = 131_072


@dataclass(frozen=True)
class LocalEvents:
    """Implements :class:`batch_layer.apps.als.data.Events`."""

    engine: ClassVar[str] = "driver"

    interactions: Interactions

    @classmethod
    def of(cls, rows: Iterable[pa.RecordBatch]) -> LocalEvents:
        """Read history rows (columns ``partition, offset, timestamp, value``)."""
        return cls(_joined(list(in_threads(parse, _in_chunks(rows), n_threads()))))

    def time_range(self) -> tuple[int, int] | None:
        """Return the oldest and the newest timestamp (ms); None if there are no events."""
        times = self.interactions.timestamps
        return (int(times.min()), int(times.max())) if len(times) else None

    def split_at(self, timestamp: int) -> tuple[LocalEvents, LocalEvents]:
        """Return the events strictly before `timestamp`, and those at or after it."""
        before = self.interactions.timestamps < timestamp
        return (
            LocalEvents(self.interactions.take(before)),
            LocalEvents(self.interactions.take(~before)),
        )

    def with_past(self, past: LocalEvents) -> LocalEvents:
        """Return these events and `past` together."""
        return LocalEvents(_joined([past.interactions, self.interactions]))

    def pairs(self, preparation: Preparation) -> Pairs:
        """Reduce the events to pairs; those that a delete ended are left out."""
        how = preparation
        events = decay(self.interactions, how.now, how.decay_factor, how.zero_threshold)
        in_time = not (how.implicit and add_up_in_any_order(events.values))
        found = EventsByPair.of(events, in_time)
        values = found.strengths(how.implicit, how.log_strength, how.epsilon).astype(np.float32)
        pairs = Pairs(found.user_ids, found.item_ids, found.users, found.items, values)
        present = np.isfinite(values)
        return pairs if present.all() else pairs.take(present)

    def factorize(
        self, preparation: Preparation, fit: Fit, known_items: bool
    ) -> Factorization | None:
        """Train; None if no pair is left to train on."""
        pairs = self.pairs(preparation)
        if not len(pairs):
            return None
        users, items = factorize(matrix(pairs), fit)
        known = self._known(preparation, pairs) if known_items else None
        return Factorization(pairs.user_ids, pairs.item_ids, users, items, known)

    def release(self) -> None:
        """Nothing is held outside."""

    def _known(self, preparation: Preparation, pairs: Pairs) -> pa.ListArray:
        n_users = len(pairs.user_ids)
        if preparation.zero_threshold == 0:
            return lists_of(pairs.users, pairs.items, n_users)
        known = self.pairs(replace(preparation, zero_threshold=0.0))
        users = rows_of(known.user_ids, pairs.user_ids)[known.users]
        items = rows_of(known.item_ids, pairs.item_ids)[known.items]
        kept = (users >= 0) & (items >= 0)
        return lists_of(users[kept], items[kept], n_users)


def matrix(pairs: Pairs) -> csr_matrix:
    """Return pairs as a sparse matrix, users by items; nothing is copied."""
    counts = np.bincount(pairs.users, minlength=len(pairs.user_ids))
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    shape = (len(pairs.user_ids), len(pairs.item_ids))
    return csr_matrix((pairs.values, pairs.items, indptr), shape)


def _in_chunks(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Put batches together until they have about as many rows as are read at once."""
    held: list[pa.RecordBatch] = []
    for batch in rows:
        held.append(batch)
        if sum(map(len, held)) >= _CHUNK:
            yield pa.concat_batches(held) if len(held) > 1 else batch
            held = []
    if held:
        yield pa.concat_batches(held)


def _joined(parts: Sequence[Interactions]) -> Interactions:
    return Interactions(
        _joined_column([part.users for part in parts]),
        _joined_column([part.items for part in parts]),
        np.concatenate([np.zeros(0), *(part.values for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.timestamps for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.positions for part in parts)]),
    )


def _joined_column(columns: Sequence[pa.DictionaryArray]) -> pa.DictionaryArray:
    joined = pa.chunked_array(columns, pa.dictionary(pa.int32(), pa.string()))
    return joined.unify_dictionaries().combine_chunks()
