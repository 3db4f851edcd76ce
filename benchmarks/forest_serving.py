"""Scoring with one forest by our code, by scikit-learn, and by pypmml, on one core.

Our code starts from the line of text in a request; the others get data in their preferred form, a
row of a matrix and a dictionary.

    python -m benchmarks.forest_serving [--trees 50] [--depth 10]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier

from benchmarks.report import Figure, run
from common.apps.forest.layout import Tree, lay_out
from common.apps.forest.model import ForestModel, Leaves, Parameters
from common.apps.forest.pmml import write_forest_pmml
from common.apps.forest.settings import encoding_of
from common.records.columns import parse
from common.records.examples import parse_datum
from common.records.pmml_fields import Fields
from common.records.schema import InputSchema

SEED = 1
N_TRAIN = 20_000
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Bench:
    """A forest in two forms, and test rows in three."""

    library: RandomForestClassifier
    model: ForestModel
    rows: Matrix
    lines: list[str]
    records: list[dict[str, float]]

    @classmethod
    def of(cls, given: argparse.Namespace, n_rows: int) -> Bench:
        """Train a forest by scikit-learn, and convert its trees."""
        rows, classes = make_classification(
            N_TRAIN + n_rows, given.features, n_informative=10, random_state=SEED
        )
        # scikit-learn converts to single precision: the data must have no more digits.
        rows = rows.astype(np.float32).astype(np.float64)
        library = RandomForestClassifier(
            given.trees, max_depth=given.depth, n_jobs=1, random_state=SEED
        ).fit(rows[:N_TRAIN], classes[:N_TRAIN])
        test_rows = rows[N_TRAIN:]
        names = [f"f{n}" for n in range(given.features)]
        lines = [",".join(map(repr, row)) + "," for row in test_rows.tolist()]
        records = [dict(zip(names, row, strict=True)) for row in test_rows.tolist()]
        return cls(library, read(library, names, given.depth), test_rows, lines, records)


def read(library: RandomForestClassifier, names: list[str], depth: int) -> ForestModel:
    """Convert a forest of scikit-learn to our form."""
    laid, totals = lay_out([tree(one.tree_) for one in library.estimators_], np.ones(len(library)))
    schema = InputSchema(
        names=(*names, "class"),
        ids=frozenset(),
        ignored=frozenset(),
        numeric=frozenset(names),
        categorical=frozenset({"class"}),
        target="class",
    )
    fields = Fields(schema, {"class": ("0", "1")})
    leaves = Leaves(totals, classification=True)
    return ForestModel(fields, Parameters(depth, 2, "gini"), laid, leaves)


def tree(library: Any) -> Tree:
    """Convert one tree."""
    leaf = library.children_left < 0
    return Tree(
        feature=np.where(leaf, -1, library.feature).astype(np.int64),
        threshold=library.threshold,
        negative=library.children_left.astype(np.int64),
        positive=library.children_right.astype(np.int64),
        default=np.zeros(len(leaf), np.bool_),
        totals=library.value[:, 0, :] * library.weighted_n_node_samples[:, np.newaxis],
    )


def ours_one(bench: Bench) -> Callable[[int], Matrix]:
    """Return a function that scores a single line."""
    model, encoding = bench.model, encoding_of(bench.model)
    schema = model.fields.schema

    def score(at: int) -> Matrix:
        datum = parse_datum(bench.lines[at], schema)
        row, _ = encoding.encode_datum(datum, schema.predictors)
        return model.predict(np.array([row]))

    return score


def ours_all(bench: Bench) -> Matrix:
    """Score all lines."""
    schema = bench.model.fields.schema
    examples = parse(pa.array(bench.lines), schema)[0]
    return bench.model.predict(encoding_of(bench.model).encode(examples, schema.predictors)[0])


def microseconds(score: Callable[[int], object], times: int) -> float:
    """Return the median time of scoring one row."""
    durations = []
    for at in range(times):
        start = time.perf_counter()
        score(at)
        durations.append(time.perf_counter() - start)
    return 1e6 * statistics.median(durations)


def per_second(score: Callable[[], object], n_rows: int) -> float:
    """Return the number of rows scored per second."""
    start = time.perf_counter()
    score()
    return n_rows / (time.perf_counter() - start)


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Check that all three agree, then time them alternately."""
    from pypmml import Model

    bench = Bench.of(given, given.rows)
    other = Model.fromString(write_forest_pmml(bench.model).decode())
    expected = bench.library.predict_proba(bench.rows)
    assert np.allclose(ours_all(bench), expected, atol=1e-9)
    for at in range(20):
        assert abs(other.predict(bench.records[at])["probability_1"] - expected[at, 1]) < 1e-6
    one, asked = ours_one(bench), bench.rows
    library = bench.library.predict_proba
    rounds = range(given.rounds)
    singles = [
        (
            microseconds(one, 2000),
            microseconds(lambda at: library(asked[at : at + 1]), 200),
            microseconds(lambda at: other.predict(bench.records[at]), 200),
        )
        for _ in rounds
    ]
    ours, sklearn, pypmml = zip(*singles, strict=True)
    what = f"one row, {given.trees} trees of depth {given.depth}, p50"
    yield Figure(what, "us", ours, "scikit-learn", sklearn, "less")
    yield Figure(what, "us", ours, "pypmml", pypmml, "less")
    part = bench.records[:2000]
    bulk = [
        (
            per_second(lambda: ours_all(bench), len(asked)),
            per_second(lambda: bench.model.predict(asked), len(asked)),
            per_second(lambda: library(asked), len(asked)),
            per_second(lambda: [other.predict(record) for record in part], len(part)),
        )
        for _ in rounds
    ]
    lines, encoded, sklearn, pypmml = zip(*bulk, strict=True)
    what = f"rows in bulk, {given.trees} trees of depth {given.depth}"
    yield Figure(f"{what}, from lines", "rows/s", lines, "scikit-learn", sklearn, "50,000")
    yield Figure(f"{what}, encoded", "rows/s", encoded, "scikit-learn", sklearn, "50,000")
    yield Figure(f"{what}, from lines", "rows/s", lines, "pypmml", pypmml, "50,000")
    Model.close()


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="Scoring a forest.")
    for name, default in (
        ("rows", 50_000),
        ("features", 20),
        ("trees", 50),
        ("depth", 10),
        ("rounds", 5),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    run("forest_serving", measure, parser, rows=2_000, trees=10, rounds=1)


if __name__ == "__main__":
    main()
