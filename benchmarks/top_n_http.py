"""Recommendations over HTTP by the real server, compared with libraries in process.

    python -m benchmarks.top_n_http                     # 1M x 50 and 1M x 250, known items removed
    python -m benchmarks.top_n_http --quick             # 200k x 50
    python -m benchmarks.top_n_http --items 1000000 --factors 50 --spread none   # the hardest data
    python -m benchmarks.top_n_http --items 20000000 --factors 50 --only approximate --workers 2

Two servers, exact and approximate, run as processes on generations in temporary stores; another
process generates the load on the same machine.  In each round every server answers 1, 8 and 64
clients in a closed loop, then half the achieved rate in an open loop, then 8 clients during
updates; plain NumPy, faiss and implicit answer the same users in this process in between.  Memory
is that of the server and its workers, compared with the bytes of factors, ids and known items in
its store; each server has its own store, so that they share no pages.  A run with an error ends
without figures.  The ratio to NumPy matters, not the absolute figures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import report
from benchmarks.als_data import Shape, make, write_generation
from benchmarks.serving_process import KafkaTransport, MemoryTransport, ServingProcess, Transport
from benchmarks.top_n_peers import NUMPY, best_unknown, peers
from benchmarks.top_n_subject import RECALL_USERS, Figures, Subject
from stack.local_kafka import LocalKafka

KINDS: Mapping[str, Mapping[str, object]] = {
    "exact": {},
    "approximate": {"als.top_n.approximate_above_items": 0},
}
STORED = "factors, ids and known items"
#: Targets by items, factors and figure.
ASKED = {
    (1_000_000, 50, "exact, 1 clients, p50: ms"): "≤ 20",
    (1_000_000, 50, "exact, 8 clients: requests/s"): "≥ 200",
    (1_000_000, 50, "exact, 64 clients: requests/s"): "≥ 300",
    (1_000_000, 50, "approximate, 8 clients: requests/s"): "≥ 1,200",
    (1_000_000, 50, "approximate, 8 clients, p99: ms"): "≤ 30",
    (1_000_000, 50, "approximate, recall@10: share"): "≥ 0.95",
    (1_000_000, 50, "exact, start to ready: s"): "≤ 5",
    (1_000_000, 50, "exact, RSS at rest: MB"): "≤ 1.4 times",
    (1_000_000, 50, "approximate, RSS at rest: MB"): "≤ 1.4 times",
    (1_000_000, 250, "exact, 8 clients: requests/s"): "≥ 40",
    (1_000_000, 250, "approximate, 8 clients: requests/s"): "≥ 500",
    (1_000_000, 250, "approximate, recall@10: share"): "≥ 0.95",
    (10_000_000, 50, "approximate, 8 clients: requests/s"): "≥ 300",
    (20_000_000, 50, "approximate, 8 clients: requests/s"): "≥ 300",
}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--factors", type=int, nargs="+", default=[50, 250])
    parser.add_argument("--spread", default="0.7", help="of tastes around centers; or none")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--workers", type=int, help="serving.api.workers; not set if absent")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    small = {"items": 200_000, "users": 20_000, "factors": [50], "rounds": 1, "seconds": 0.5}
    report.run("top_n_http", measure, parser, **small)


def measure(given: argparse.Namespace) -> Iterator[report.Figure]:
    """Yield all figures of each shape."""
    spread = None if given.spread == "none" else float(given.spread)
    for factors in given.factors:
        shape = Shape(given.items, given.users, factors, spread)
        figures = _measure(shape, given)
        for name, values in figures.items():
            what, _, unit = name.rpartition(": ")
            peer = _peer(name, unit)
            yield report.Figure(
                what=f"{shape.n_items:,} x {factors}, {what}",
                unit=unit,
                values=values,
                peer=peer.rpartition(": ")[0],
                peer_values=figures[peer] if peer else (),
                asked=ASKED.get((shape.n_items, factors, name), ""),
            )


def _peer(name: str, unit: str) -> str:
    """Return the name of a figure's peer: NumPy for rates, the store's size for memory."""
    rates = f"{NUMPY}: queries/s"
    beside = {"MB": f"{STORED}: MB", "queries/s": rates, "requests/s": rates}.get(unit, "")
    return "" if beside == name else beside


def _measure(shape: Shape, given: argparse.Namespace) -> Figures:
    """Start the servers; then measure them and the peers alternately."""
    figures: Figures = defaultdict(list)
    data = make(shape)
    peer_rates = peers(data)
    with (
        tempfile.TemporaryDirectory(prefix="top-n-") as folder,
        _transports(given.workers, Path(folder)) as transport,
        ExitStack() as stack,
    ):
        best = best_unknown(data, RECALL_USERS)
        subjects = []
        for kind in given.only:
            store = Path(folder) / kind / "store"
            write_generation(store, data)
            flags = {**KINDS[kind], **_workers(given.workers)}
            server = stack.enter_context(ServingProcess(store, flags, transport(kind)))
            subjects.append(Subject(kind, server, data, given.seconds, figures))
            subjects[-1].begin(best, given.workers or 1)
        figures[f"{STORED}: MB"] = [
            sum(f.stat().st_size for f in store.glob("*/*.safetensors")) / 1e6
        ]
        for _ in range(given.rounds):
            for name, rate in peer_rates.items():
                figures[f"{name}: queries/s"].append(rate(given.seconds / 2))
            for subject in subjects:
                subject.load()
        for subject in subjects:
            subject.end()
    return dict(figures)


def _workers(workers: int | None) -> Mapping[str, object]:
    return {} if workers is None else {"serving.api.workers": workers}


@contextmanager
def _transports(workers: int | None, folder: Path) -> Iterator[Callable[[str], Transport]]:
    """Yield a function that returns a server's transport; workers need a real broker."""
    if workers is None:
        yield lambda _: MemoryTransport()
    else:
        with LocalKafka(folder / "kafka", 0) as kafka:
            yield lambda kind: KafkaTransport(kafka.address, kind)


if __name__ == "__main__":
    main()
