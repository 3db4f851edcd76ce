"""ALS events on executors, trained by Spark's MLlib: for what does not fit on the driver.

The factors and the known items come to the driver all the same: they are one generation's
files, and serving holds them in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Window
from pyspark.sql import functions as F

from batch_layer.apps.als.data import Factorization, Pairs, Preparation, lists_of
from batch_layer.apps.als.solver import Fit, Vectors
from common.apps.als.events import MAX_STRENGTH, Interactions, parse
from common.apps.als.pairs import EventsByPair

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_EVENTS = "user string, item string, value double, timestamp bigint, position bigint"
_MS_PER_DAY = 86_400_000
_CHECKPOINT_INTERVAL = 5


@dataclass(frozen=True)
class SparkEvents:
    """Implements :class:`batch_layer.apps.als.data.Events`; a null value deletes."""

    engine: ClassVar[str] = "mllib"

    frame: DataFrame
    cached: tuple[DataFrame, ...] = ()

    @classmethod
    def of(cls, rows: DataFrame) -> SparkEvents:
        """Read history rows (columns ``partition, offset, timestamp, value``)."""
        columns = rows.select("partition", "offset", "timestamp", "value")
        events = columns.mapInArrow(_parsed, _EVENTS).persist()
        return cls(events, (events,))

    def time_range(self) -> tuple[int, int] | None:
        """Return the oldest and the newest timestamp (ms); None if there are no events."""
        oldest, newest = self.frame.agg(F.min("timestamp"), F.max("timestamp")).collect()[0]
        return None if oldest is None else (oldest, newest)

    def split_at(self, timestamp: int) -> tuple[SparkEvents, SparkEvents]:
        """Return the events strictly before `timestamp`, and those at or after it."""
        before = self.frame["timestamp"] < timestamp
        return SparkEvents(self.frame.filter(before)), SparkEvents(self.frame.filter(~before))

    def with_past(self, past: SparkEvents) -> SparkEvents:
        """Return these events and `past` together."""
        return SparkEvents(past.frame.unionAll(self.frame), past.cached + self.cached)

    def pairs(self, preparation: Preparation) -> Pairs:
        """Reduce the events to pairs, on the driver; those that a delete ended are left out."""
        table = _reduced(self.frame, preparation).toArrow()
        users, items = (
            table[name].combine_chunks().dictionary_encode() for name in ("user", "item")
        )
        values = table["value"].to_numpy().astype(np.float64)
        zeros = np.zeros(len(values), np.int64)
        # Each pair is there once: this only sorts them.
        found = EventsByPair.of(Interactions(users, items, values, zeros, zeros), in_time=False)
        sorted_values = values[found.order].astype(np.float32)
        return Pairs(found.user_ids, found.item_ids, found.users, found.items, sorted_values)

    def factorize(
        self, preparation: Preparation, fit: Fit, known_items: bool
    ) -> Factorization | None:
        """Train; None if no pair is left to train on."""
        ratings = _reduced(self.frame, preparation).persist()
        try:
            ids = _Ids(*(_distinct(ratings, name) for name in ("user", "item")))
            if not len(ids.users):
                return None
            users, items = _fit(ids.number(ratings), fit)
            known = self._known(preparation, ids, ratings) if known_items else None
        finally:
            ratings.unpersist()
        return Factorization(
            ids.users,
            ids.items,
            _by_row(users, len(ids.users), fit.features),
            _by_row(items, len(ids.items), fit.features),
            known,
        )

    def release(self) -> None:
        """Give the executors' memory back."""
        for frame in self.cached:
            frame.unpersist()

    def _known(self, preparation: Preparation, ids: _Ids, ratings: DataFrame) -> pa.ListArray:
        if preparation.zero_threshold > 0:
            ratings = _reduced(self.frame, replace(preparation, zero_threshold=0.0))
        pairs = ids.number(ratings).select("user_row", "item_row").toArrow()
        users, items = (pairs[name].to_numpy() for name in ("user_row", "item_row"))
        order = np.lexsort((items, users))
        return lists_of(users[order], items[order], len(ids.users))


@dataclass(frozen=True)
class _Ids:
    """The ids that have ratings, sorted."""

    users: pa.StringArray
    items: pa.StringArray

    def number(self, ratings: DataFrame) -> DataFrame:
        """Return ``user_row, item_row, value``: MLlib takes whole numbers for ids."""
        for name, ids in (("user", self.users), ("item", self.items)):
            rows = pa.array(np.arange(len(ids), dtype=np.int32))
            table = pa.table({name: ids, f"{name}_row": rows})
            ratings = ratings.join(ratings.sparkSession.createDataFrame(table), name)
        return ratings.select("user_row", "item_row", "value")


def _parsed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        events = parse(batch)
        deletes = np.isnan(events.values)
        yield pa.RecordBatch.from_pydict(
            {
                "user": events.users.cast(pa.string()),
                "item": events.items.cast(pa.string()),
                "value": pa.array(events.values, mask=deletes),
                "timestamp": events.timestamps,
                "position": events.positions,
            }
        )


def _reduced(events: DataFrame, how: Preparation) -> DataFrame:
    """Reduce events to columns ``user, item, value``, as `common.apps.als.pairs.aggregate` does."""
    order = F.struct("timestamp", "position")
    events = _weakened(events, how)
    if how.implicit:
        pair = Window.partitionBy("user", "item")
        deleted = F.max(F.when(F.col("value").isNull(), order)).over(pair)
        events = events.withColumn("deleted", deleted)
        events = events.filter(F.col("deleted").isNull() | (order > F.col("deleted")))
        value = F.sum("value")
    else:
        value = F.max_by("value", order)
    reduced = events.groupBy("user", "item").agg(value.alias("value")).dropna()
    bounded = F.greatest(F.least("value", F.lit(MAX_STRENGTH)), F.lit(-MAX_STRENGTH))
    if how.log_strength:
        bounded = F.signum(bounded) * F.log1p(F.abs(bounded) / how.epsilon)
    return reduced.select("user", "item", bounded.cast("float").alias("value"))


def _weakened(events: DataFrame, how: Preparation) -> DataFrame:
    """Weaken strengths by age, as `common.apps.als.events.decay` does."""
    value = F.col("value")
    if how.decay_factor != 1.0:
        age = F.greatest(F.lit(how.now) - F.col("timestamp"), F.lit(0)) / _MS_PER_DAY
        events = events.withColumn("value", value * F.pow(F.lit(how.decay_factor), age))
    if how.zero_threshold > 0:
        events = events.filter(value.isNull() | (F.abs(value) > how.zero_threshold))
    return events


def _distinct(ratings: DataFrame, name: str) -> pa.StringArray:
    ids = ratings.select(name).distinct().toArrow()[name].combine_chunks()
    return ids.take(pc.sort_indices(ids))


def _fit(ratings: DataFrame, fit: Fit) -> tuple[pa.Table, pa.Table]:
    """Return user and item factors as tables of ``id`` and ``features``."""
    # What brings pandas with it, 50 MB, stays out of the executors' workers, which import this
    # module for its functions.
    from pyspark.ml.recommendation import ALS

    blocks = max(ratings.sparkSession.sparkContext.defaultParallelism, 1)
    als = ALS(
        rank=fit.features,
        maxIter=fit.iterations,
        regParam=fit.regularization,
        numUserBlocks=blocks,
        numItemBlocks=blocks,
        implicitPrefs=fit.implicit,
        alpha=fit.alpha,
        userCol="user_row",
        itemCol="item_row",
        ratingCol="value",
        seed=fit.seed,
        checkpointInterval=_CHECKPOINT_INTERVAL,
    )
    model = als.fit(ratings)
    return model.userFactors.toArrow(), model.itemFactors.toArrow()


def _by_row(factors: pa.Table, n_rows: int, n_factors: int) -> Vectors:
    vectors = np.zeros((n_rows, n_factors), np.float32)
    flat = factors["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors[factors["id"].to_numpy()] = flat.reshape(-1, n_factors)
    return vectors
