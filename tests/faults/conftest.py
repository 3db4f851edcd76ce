"""What every row of the fault matrix gets: a broker behind a proxy, a folder, a seed."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.base import paths
from tests.faults.broker import FaultBroker
from tests.faults.ledger import Ledger
from tests.integration.stack import Stack, stack

#: Set by `bin/test --faults`: rows that take long run too.
ALL = "ALL_FAULTS"
#: A number: repeats the choices of an earlier run.
SEED = "FAULTS_SEED"

_failed = pytest.StashKey[bool]()
_numbers = itertools.count()


@dataclass
class Case:
    """One row of the matrix as it runs.

    Attributes
    ----------
    folder : Path
        Evidence: logs, ledgers, stores; kept where the test fails.
    seed : int
        Of every choice.
    broker : FaultBroker
        Its topics are the run's, its proxy without faults when the test begins.
    """

    folder: Path
    seed: int
    broker: FaultBroker
    _open: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)

    def stack(self, app: str = "wordcount", **flags: object) -> Stack:
        """Make topics and folders for an app; what is started with them ends with the test."""
        given = {"batch.spark.master": "local[1]", "speed.spark.master": "local[1]", **flags}
        return self._open.enter_context(stack(self.folder, self.broker.address, app, **given))

    def ledger(self, name: str = "event") -> Ledger:
        """Open a ledger in the evidence."""
        return self._open.enter_context(Ledger(self.folder / f"{name}.jsonl", name))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get(ALL):
        skipped = pytest.mark.skip(reason="takes long: bin/test --faults runs it")
        for item in items:
            if item.get_closest_marker("thorough"):
                item.add_marker(skipped)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_failed] = True
        case = getattr(item, "funcargs", {}).get("case")
        if case is not None:
            again = f"{SEED}={case.seed} {ALL}=1 bin/test '{item.nodeid}'"
            where = f"{case.folder}, the broker's log in {case.broker.folder}"
            text = f"seed: {case.seed}\nevidence: {where}\nagain: {again}"
            report.sections.append(("fault", text))
    return report


@pytest.fixture(scope="session")
def seed() -> int:
    given = os.environ.get(SEED)
    return int(given) if given else random.SystemRandom().randrange(2**31)


@pytest.fixture(scope="session")
def faulty_broker(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Iterator[FaultBroker]:
    with FaultBroker(tmp_path_factory.mktemp("faulty-broker"), seed=seed) as broker:
        yield broker


@pytest.fixture
def case(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    faulty_broker: FaultBroker,
) -> Iterator[Case]:
    """A folder of its own below the state folder, which goes with the test unless that fails."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
    # The topics are named after it, and the run's tests share a broker.
    folder = paths.home() / "faults" / f"{name[:40]}-{os.getpid()}-{next(_numbers)}"
    jars = paths.home() / "jars"
    (folder / "home").mkdir(parents=True)
    (folder / "home" / "jars").symlink_to(jars)
    monkeypatch.setenv("GEMSBOK_HOME", str(folder / "home"))
    made = Case(folder, seed, faulty_broker)
    try:
        with made._open:
            yield made
    finally:
        faulty_broker.proxy.heal()
        if faulty_broker.layer is None:
            faulty_broker.start()
    if not request.node.stash.get(_failed, False):
        shutil.rmtree(folder)
