"""Word count in the batch layer: the smallest family, and the pattern for others."""

from collections.abc import Collection, Iterator

import orjson
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from batch_layer.api import BatchContext, Built
from common.apps.wordcount import NEIGHBOURS_FILE, neighbours
from common.config import Settings
from common.store.generations import Generation


class Batch:
    """Counts for each word the distinct other words that share a line with it."""

    def __init__(self, settings: Settings) -> None: ...

    def run(self, context: BatchContext, new_data: DataFrame, past_data: DataFrame | None) -> Built:
        """Write the counts, and for the speed layer the words that make them up."""
        data = new_data if past_data is None else new_data.unionByName(past_data)
        pairs = data.select("value").mapInArrow(_pairs, "word STRING, other STRING")
        rows = pairs.groupBy("word").agg(F.sort_array(F.collect_set("other")).alias("others"))
        found = {row["word"]: row["others"] for row in rows.orderBy("word").collect()}
        counts = {word: len(others) for word, others in found.items()}
        (context.directory / "model.json").write_bytes(orjson.dumps(counts))
        (context.directory / NEIGHBOURS_FILE).write_bytes(orjson.dumps(found))
        return Built("model.json", engine="spark")

    def updates(self, generation: Generation) -> Collection[str]:
        """Return nothing: the model is complete."""
        return ()


def _pairs(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Return each word with each of its neighbours; a word alone with none."""
    for batch in batches:
        found = neighbours(batch["value"].to_pylist())
        pairs = [(word, other) for word, others in found.items() for other in others or [None]]
        columns = [pa.array(column, pa.string()) for column in zip(*pairs, strict=True)]
        if columns:
            yield pa.record_batch(columns, names=["word", "other"])
