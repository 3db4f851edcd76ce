"""A history as examples: the driver and the executors read alike."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from batch_layer.api import BatchContext
from batch_layer.examples.examples import LocalExamples, SparkExamples
from batch_layer.examples.reader import Engine, Reading, read_examples
from batch_layer.search.training import Split
from common.records.encoding import Encoding, Matrix
from common.records.schema import InputSchema
from common.runtime.configuration import load

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.integration

#: Names that Spark would take for one another, or for a column of the reader's own.
SCHEMA = InputSchema(
    ("a", "A", "held_out"), frozenset(), frozenset(), frozenset({"a", "A"}), frozenset({"held_out"})
)
READING = Reading(
    SCHEMA, required=frozenset({"a"}), engine="sklearn", max_cells=0, test_fraction=0.3, seed=5
)


def frame(spark: SparkSession, lines: list[str], start: int = 0) -> DataFrame:
    schema = "partition INT, offset BIGINT, timestamp BIGINT, key STRING, value STRING"
    rows = [(0, start + n, 1, None, line) for n, line in enumerate(lines)]
    return spark.createDataFrame(rows, schema)


def context(spark: SparkSession, n_events: int) -> BatchContext:
    return BatchContext(spark, load(None, {}, {}), Path(), 1, n_events)


def both(
    spark: SparkSession, reading: Reading = READING
) -> tuple[Split[LocalExamples], Split[SparkExamples]]:
    past = [f"{n},1,past" for n in range(100)]
    new = [f"{n},2,new" for n in range(100, 200)]

    def read(engine: Engine) -> Any:
        return read_examples(
            replace(reading, engine=engine),
            context(spark, 202),
            frame(spark, [*new, "1,2"], 100),
            frame(spark, [*past, ",2,x"]),
        )

    return read("sklearn"), read("mllib")


def values(examples: LocalExamples | SparkExamples | None) -> list[float]:
    assert examples is not None
    assert len(examples) == examples.sample(1000, 1).num_rows
    found: list[float] = examples.sample(1000, 1)["a"].to_pylist()
    return sorted(found)


def test_both_engines_read_and_split_alike(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        local, spread = both(spark)
    assert caplog.text.count("2 lines of the history left out") == 2
    assert (local.everything.engine, spread.everything.engine) == ("sklearn", "mllib")
    assert local.test is not None
    for one, other in (
        (local.everything, spread.everything),
        (local.train, spread.train),
        (local.test, spread.test),
    ):
        assert values(one) == values(other)
    assert values(local.everything) == list(range(200))
    assert 15 <= len(local.test) <= 45
    assert min(values(local.test)) >= 100
    assert local.everything.encoding() == spread.everything.encoding()
    assert spread.everything.encoding() == Encoding({"held_out": ("new", "past")})
    spread.everything.release()


def test_examples_become_vectors_on_the_executors(spark: SparkSession) -> None:
    spread = both(spark)[1].everything
    encoding = spread.encoding()

    def encode(batch: pa.RecordBatch) -> Matrix:
        return encoding.encode(batch, SCHEMA.active)[0]

    plain = spread.vectors(encode).toPandas()
    assert sorted(row.tolist() for row in map(np.asarray, plain["features"])) == [
        [float(n), 1.0 + (n >= 100), float(n < 100)] for n in range(200)
    ]
    labelled = spread.vectors(encode, with_label=True).toPandas()
    assert sorted(labelled["label"]) == [0.0] * 100 + [1.0] * 100
    assert {len(vector) for vector in labelled["features"]} == {2}
    spread.release()


def test_a_sample_is_drawn_by_its_seed(spark: SparkSession) -> None:
    local, spread = both(spark)
    assert local.everything.sample(50, 3).num_rows == 50
    assert local.everything.sample(50, 3) == local.everything.sample(50, 3)
    assert local.everything.sample(50, 3) != local.everything.sample(50, 4)
    assert 25 <= spread.everything.sample(50, 3).num_rows <= 75
    spread.everything.release()


def test_without_a_fraction_nothing_is_held_out_and_with_all_of_it_all(
    spark: SparkSession,
) -> None:
    for split in both(spark, replace(READING, test_fraction=0.0)):
        assert split.test is None
        assert len(split.everything) == 200
    for split in both(spark, replace(READING, test_fraction=1.0)):
        assert split.train is not None
        assert split.test is not None
        assert (len(split.train), len(split.test)) == (100, 100)


@pytest.mark.parametrize("engine", ["sklearn", "mllib"])
def test_a_history_without_an_example_is_none(spark: SparkSession, engine: Engine) -> None:
    reading = replace(READING, engine=engine)
    assert read_examples(reading, context(spark, 1), frame(spark, ["1,2"]), None) is None


def test_auto_goes_by_the_number_of_cells() -> None:
    reading = replace(READING, engine="auto", max_cells=300)
    assert not reading.on_executors(100)
    assert reading.on_executors(101)
    assert replace(reading, engine="mllib").on_executors(1)
    assert not replace(reading, engine="sklearn").on_executors(101)


def test_what_adds_up_is_the_same_in_parts(spark: SparkSession) -> None:
    def sums(part: pa.RecordBatch) -> Matrix:
        numbers, _ = Encoding({}).encode(part, ["a", "A"])
        return np.array([[len(numbers), 0.0], numbers.sum(axis=0)])

    local, spread = both(spark)
    expected = [[200.0, 0.0], [sum(range(200)), 300.0]]
    assert local.everything.total(sums).tolist() == expected
    assert spread.everything.total(sums).tolist() == expected
    spread.everything.release()
