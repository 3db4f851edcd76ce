"""Which rows are held out: by Spark's own hash of their coordinates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from batch_layer.examples.held_out import is_held_out

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

N = 20_000
PARTITIONS = (np.arange(N) % 4).astype(np.int32)
OFFSETS = np.arange(N)


def test_the_share_held_out_is_binomial_and_another_seed_s_are_others() -> None:
    found = is_held_out(PARTITIONS, OFFSETS, 0.1, 5)
    assert abs(found.sum() - N / 10) < 5 * math.sqrt(N * 0.1 * 0.9)
    other = is_held_out(PARTITIONS, OFFSETS, 0.1, 6)
    assert 0 < (found & other).sum() < 400


def test_a_row_is_on_the_same_side_wherever_it_stands() -> None:
    found = is_held_out(PARTITIONS, OFFSETS, 0.1, 5)
    order = np.random.default_rng(1).permutation(N)
    again = is_held_out(PARTITIONS[order], OFFSETS[order], 0.1, 5)
    assert found.any()
    assert (again == found[order]).all()


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (1.0, N)])
def test_none_or_all(fraction: float, expected: int) -> None:
    assert is_held_out(PARTITIONS, OFFSETS, fraction, 5).sum() == expected


@pytest.mark.integration
@pytest.mark.parametrize("seed", [1, -7, 2**31, -(2**63)])
def test_the_hash_is_spark_s(spark: SparkSession, seed: int) -> None:
    from pyspark.sql import functions as F

    rows = spark.range(1000).selectExpr("int(id % 7) partition", "id * 1099511627777 offset")
    hashed = F.xxhash64(F.lit(seed), "partition", "offset").bitwiseAND(2**31 - 1)
    table = rows.withColumn("held_out", hashed < round(0.3 * 2**31)).toArrow()
    partitions, offsets, expected = (column.to_numpy() for column in table.columns)
    assert 200 < expected.sum() < 400
    assert (is_held_out(partitions, offsets, 0.3, seed) == expected).all()
