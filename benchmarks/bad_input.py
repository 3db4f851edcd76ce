"""Bad input: which rows of the tables are tested and hold, and latency among stalled clients.

The rows are those of the tables of bad requests (B), bad records (T) and the security checklist
(S) in ``docs/security.md``; a test's id names the rows that it covers.  Then 40 clients begin a
request and never finish it, for each kind of beginning, while another client requests
``/readyz``; the figure is its slowest reply, compared with a server without stalled clients.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.report import Figure, run
from common.base.paths import ROOT

TESTS = (
    "tests/serving_layer/bad_input",
    "tests/serving_layer/access",
    "tests/serving_layer/transport/test_tls.py",
    "tests/serving_layer/run/test_server_process.py",
)
ROWS = [f"B{n:02}" for n in range(1, 63)]
ROWS += [f"T{n:02}" for n in range(1, 13)]
ROWS += [f"S{n:02}" for n in range(1, 28)]
STALLED = 40

_ROW = re.compile(r"(?<![A-Za-z0-9])([BTSbts]\d\d)(?![A-Za-z0-9])")


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Run the tests and print the table, then measure with stalled clients."""
    tried, passed = outcomes(given.tests)
    print_table(tried, passed)
    holding = [row for row in ROWS if tried[row] and tried[row] == passed[row]]
    notes = {"cases": sum(tried.values()), "passed": sum(passed.values())}
    asked = f"{len(ROWS)}, or a reason in docs/security.md"
    yield Figure("rows of bad input that hold", "rows", [len(holding)], asked=asked, notes=notes)
    yield from stalled_figures(given.rounds)


def outcomes(tests: Sequence[str]) -> tuple[Counter[str], Counter[str]]:
    """Run tests; return for each row the number of its cases, and of those that passed."""
    tried: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", *tests, f"--junitxml={report}"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        if done.returncode > 1:
            message = f"the tests could not be run: pytest ended with {done.returncode}"
            raise RuntimeError(message)
        for case in ElementTree.parse(report).iter("testcase"):
            rows = {row.upper() for row in _ROW.findall(case.get("name", "").replace("_", " "))}
            tried.update(rows)
            if not len(case):  # neither failed nor skipped
                passed.update(rows)
    return tried, passed


def print_table(tried: Counter[str], passed: Counter[str]) -> None:
    """Print for each row the number of its cases, and of those that passed."""
    print("row  tried  passed")
    for row in ROWS:
        note = "" if tried[row] else "  see docs/security.md"
        print(f"{row}  {tried[row]:5}  {passed[row]:6}{note}")


def stalled_figures(rounds: int) -> Iterator[Figure]:
    """Measure ``/readyz`` with and without stalled clients."""
    from tests.serving_layer.bad_input.conftest import serving
    from tests.serving_layer.bad_input.stalled import BEGINNINGS, stalled

    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        host, port = server.running.host, server.running.port
        for name, beginning in BEGINNINGS.items():
            alone: list[float] = []
            among: list[float] = []
            for _ in range(rounds):
                for clients, times in ((0, alone), (STALLED, among)):
                    with stalled(host, port, beginning, clients) if clients else nullcontext():
                        times.append(slowest(host, port))
            what = f"slowest /readyz among {STALLED} clients stalled in {name}"
            yield Figure(what, "ms", among, "alone", alone, asked="at most 1000")


def slowest(host: str, port: int, count: int = 20) -> float:
    """Return the milliseconds of the slowest of `count` replies, each on a new connection."""
    import http.client

    worst = 0.0
    for _ in range(count):
        started = time.perf_counter()
        connection = http.client.HTTPConnection(host, port, timeout=60)
        connection.request("GET", "/readyz")
        if connection.getresponse().status != 200:
            message = "the server is not ready"
            raise RuntimeError(message)
        connection.close()
        worst = max(worst, (time.perf_counter() - started) * 1000)
    return worst


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tests", nargs="+", default=TESTS, help="files and folders")
    run("bad_input", figures, parser, rounds=2, tests=TESTS[:1])
