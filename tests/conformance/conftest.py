"""Each conformance test runs over all families, found by their files."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from batch_layer.api import BatchContext
from common.config import Settings
from common.replica.updates import stored
from common.runtime.configuration import load
from common.runtime.families import families, has_layer
from common.store.generations import Generation, Manifest, ModelStore
from speed_layer.api import Events
from tests.micro_batches import micro_batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TIMESTAMP = 1_700_000_000_000


@dataclass
class Family:
    """One family: its modules, its samples, and how to build a generation of it."""

    name: str
    sample: ModuleType
    settings: Settings
    folder: Path

    def module(self, layer: str) -> Any:
        """Return the family's module of a layer (or of ``common``)."""
        package = "common" if layer == "common" else f"{layer}_layer"
        return importlib.import_module(f"{package}.apps.{self.name}")

    def build(
        self, spark: SparkSession, new: Sequence[str], past: Sequence[str] = (), number: int = 1
    ) -> Generation | None:
        """Train a generation; None where the family builds none."""
        store = ModelStore(str(self.folder / f"store-{number}"))
        directory = store.new(TIMESTAMP)
        n_events = len(new) + len(past)
        context = BatchContext(spark, self.settings, directory, TIMESTAMP, n_events)
        frames = [_frame(spark, past, 0) if past else None, _frame(spark, new, len(past))]
        built = self.module("batch").Batch(self.settings).run(context, frames[1], frames[0])
        if built is None:
            return None
        manifest = Manifest(TIMESTAMP, self.name, built.model_file, {}, "t", {0: len(new)})
        return store.commit(directory, manifest)

    def store(self, number: int) -> Generation:
        """Store the sample's document: the model of a family that is for serving alone."""
        store = ModelStore(str(self.folder / f"store-{number}"))
        directory = store.new(TIMESTAMP)
        (directory / "model.pmml").write_bytes(self.sample.DOCUMENT)
        return store.commit(directory, Manifest(TIMESTAMP, self.name, "model.pmml", {}, "", {}))

    def speed(self, generation: Generation) -> Any:
        """Load a generation in the speed layer."""
        model = self.module("speed").Speed(self.settings)
        model.load(stored(generation))
        return model

    def events(self, lines: Sequence[str], start: int = 0) -> Events:
        """Return lines as the speed layer gets them."""
        return micro_batch(
            self.module("common").Lines(self.settings), lines, start, TIMESTAMP + start
        )

    def serving(self, generation: Generation) -> Any:
        """Load a generation in the serving layer."""
        model = self.module("serving").Serving(self.settings)
        model.load(stored(generation))
        return model


def _frame(spark: SparkSession, lines: Sequence[str], start: int) -> DataFrame:
    schema = "partition INT, offset BIGINT, timestamp BIGINT, key STRING, value STRING"
    rows = [(0, start + n, TIMESTAMP + start + n, None, line) for n, line in enumerate(lines)]
    return spark.createDataFrame(rows, schema)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of :func:`pytest_generate_tests`."""
    config.addinivalue_line("markers", "layers(*names): only for families with these layers")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test over each family that has the layers of its marker; all have serving."""
    if "family" in metafunc.fixturenames:
        needed = [name for mark in metafunc.definition.iter_markers("layers") for name in mark.args]
        found = [name for name in families() if all(has_layer(name, layer) for layer in needed)]
        metafunc.parametrize("family", found, indirect=True)


@dataclass
class Generations:
    """The generations of this run by family and lines, each in a store of its own.

    Attributes
    ----------
    folder : Path
        Has the stores.
    by_lines : dict
        What was built, by family, new lines and past lines.
    """

    folder: Path
    by_lines: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Generation] = field(
        default_factory=dict
    )
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


@pytest.fixture(scope="session")
def generations(tmp_path_factory: pytest.TempPathFactory) -> Generations:
    return Generations(tmp_path_factory.mktemp("conformance"))


@pytest.fixture
def family(request: pytest.FixtureRequest, generations: Generations) -> Family:
    """Each family in turn."""
    sample = importlib.import_module(f"tests.conformance.families.{request.param}")
    settings = load(flags={"app": request.param, **sample.SETTINGS}, environment={})
    return Family(request.param, sample, settings, generations.folder)


@pytest.fixture
def build(
    family: Family, generations: Generations, request: pytest.FixtureRequest
) -> Callable[..., Generation]:
    """Builds generations of the family, once for the same lines: tests only read them."""

    def made(new: Sequence[str], past: Sequence[str] = (), anew: bool = False) -> Generation:
        known = (family.name, tuple(new), tuple(past))
        if anew or known not in generations.by_lines:
            number = next(generations.numbers)
            if has_layer(family.name, "batch"):
                spark = request.getfixturevalue("spark")
                generation = family.build(spark, new, past, number)
            else:
                generation = family.store(number)
            assert generation is not None
            generations.by_lines[known] = generation
        return generations.by_lines[known]

    return made
