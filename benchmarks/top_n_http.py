"""Recommendations over HTTP from the real server, beside what a Python user has in process.

    python -m benchmarks.top_n_http                     # 1M x 50 and 1M x 250, known items removed
    python -m benchmarks.top_n_http --quick             # 200k x 50
    python -m benchmarks.top_n_http --items 1000000 --factors 50 --spread none   # the hardest data

The server runs as a process of its own on a generation in a temporary store, once exact and
once approximate; the load comes from a third process on the same machine.  In each round every
server answers 1, 8 and 64 clients in a closed loop, then half the rate it reached in an open
loop, then 8 clients while updates come; plain NumPy, faiss and implicit answer the same users in
this process in between.  A run that had an error ends without a figure.  Read the ratio to
NumPy, not the absolute figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from benchmarks import report
from benchmarks.als_data import Data, Shape, make, write_generation
from benchmarks.serving_process import ROOT, ServingProcess
from common.apps.als import encode_update

CLIENTS = (1, 8, 64)
TOP = 10
RECALL_USERS = 300
UPDATES_PER_SECOND = 1000
FRESH = 20
PLAIN = "NumPy product and argpartition: queries/s"
#: By items, factors and figure.
ASKED = {
    (1_000_000, 50, "exact, 1 clients: p50 ms"): "≤ 20",
    (1_000_000, 50, "exact, 8 clients: requests/s"): "≥ 200",
    (1_000_000, 50, "exact, 64 clients: requests/s"): "≥ 300",
    (1_000_000, 50, "approximate, 8 clients: requests/s"): "≥ 1,200",
    (1_000_000, 50, "approximate, 8 clients: p99 ms"): "≤ 30",
    (1_000_000, 50, "approximate: recall@10"): "≥ 0.95",
    (1_000_000, 50, "exact: seconds to ready"): "≤ 5",
    (1_000_000, 250, "exact, 8 clients: requests/s"): "≥ 40",
    (1_000_000, 250, "approximate, 8 clients: requests/s"): "≥ 500",
    (1_000_000, 250, "approximate: recall@10"): "≥ 0.95",
}

Figures = dict[str, list[float]]


def main() -> None:
    """Measure each shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--factors", type=int, nargs="+", default=[50, 250])
    parser.add_argument("--spread", default="0.7", help="of tastes around centres; or none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    report.run("top_n_http", measure, parser)


def measure(given: argparse.Namespace) -> Iterator[report.Figure]:
    """Yield all figures of each shape, rates beside NumPy's."""
    if given.quick:
        given.items, given.users, given.factors, given.seconds = 200_000, 20_000, [50], 1.0
    spread = None if given.spread == "none" else float(given.spread)
    for factors in given.factors:
        shape = Shape(given.items, given.users, factors, spread)
        found = _measure(shape, given.rounds, given.seconds)
        plain = found[PLAIN]
        for name, values in found.items():
            what, _, unit = name.rpartition(": ")
            beside = unit.endswith("/s") and name != PLAIN
            yield report.Figure(
                what=f"{shape.n_items:,} x {factors}, {what}",
                unit=unit,
                values=values,
                peer="NumPy" if beside else "",
                peer_values=plain if beside else (),
                asked=ASKED.get((shape.n_items, factors, name), ""),
            )


def _measure(shape: Shape, rounds: int, seconds: float) -> Figures:
    figures: Figures = defaultdict(list)
    data = make(shape)
    peers = _peers(data)
    with tempfile.TemporaryDirectory(prefix="top-n-") as folder, ExitStack() as stack:
        write_generation(Path(folder) / "store", data)
        size = data.items.nbytes + data.users.nbytes + data.known.nbytes
        figures["factors and known items: MB"].append(size / 1e6)
        servers = {}
        for kind, flags in {
            "exact": {},
            "approximate": {"als__top_n__approximate_above_items": 0},
        }.items():
            server = stack.enter_context(ServingProcess(Path(folder) / "store", **flags))
            figures[f"{kind}: seconds to ready"].append(server.seconds_to_ready)
            figures[f"{kind}: resident MB"].append(server.memory_mb()["resident"])
            servers[kind] = server
        _wait_for_index(servers["approximate"], figures)
        for kind, server in servers.items():
            figures[f"{kind}: recall@10"].append(_recall(server, data))
        for _ in range(rounds):
            for name, rate in peers.items():
                figures[f"{name}: queries/s"].append(rate(seconds))
            for kind, server in servers.items():
                _load_all(kind, server, shape, seconds, figures)
        for kind, server in servers.items():
            figures[f"{kind}: ms until a new item is recommended"] += _freshness(server, data)
            figures[f"{kind}: resident MB after all"].append(server.memory_mb()["resident"])
    return dict(figures)


def _load_all(
    kind: str, server: ServingProcess, shape: Shape, seconds: float, figures: Figures
) -> None:
    for clients in CLIENTS:
        found = _load(server, shape, seconds, clients)
        for name, figure in found.items():
            figures[f"{kind}, {clients} clients: {name}"].append(figure)
    half = figures[f"{kind}, 8 clients: requests/s"][-1] / 2
    found = _load(server, shape, seconds, 64, rate=half)
    figures[f"{kind}, open loop at half of that: p99 ms"].append(found["p99 ms"])
    with _updates(server, shape, UPDATES_PER_SECOND):
        found = _load(server, shape, seconds, 8)
    name = f"{kind}, 8 clients and {UPDATES_PER_SECOND} updates/s: requests/s"
    figures[name].append(found["requests/s"])


def _load(
    server: ServingProcess, shape: Shape, seconds: float, clients: int, rate: float | None = None
) -> dict[str, float]:
    """Run the load generator as a process; raises where a request had an error."""
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(server.port)]
    command += ["--path", "/recommend/u%d", "--numbers", str(shape.n_users)]
    command += ["--connections", str(clients), "--seconds", str(seconds)]
    if rate is not None:
        command += ["--rate", str(rate)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    if found["errors"]:
        message = f"the run had errors: {found['errors']}"
        raise RuntimeError(message)
    return {
        "requests/s": found["requests_per_second"],
        "p50 ms": found["p50_ms"],
        "p99 ms": found["p99_ms"],
    }


@contextmanager
def _updates(server: ServingProcess, shape: Shape, rate: int) -> Iterator[None]:
    """Change vectors of random items at a rate during the block."""
    random = np.random.default_rng(5)
    done = threading.Event()

    def send() -> None:
        started, sent = time.perf_counter(), 0
        while not done.is_set():
            while sent < rate * (time.perf_counter() - started):
                vector = 0.1 * random.standard_normal(shape.n_factors)
                item = f"i{random.integers(shape.n_items)}"
                server.update(encode_update("Y", item, vector))
                sent += 1
            time.sleep(0.005)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        done.set()
        sender.join()


def _freshness(server: ServingProcess, data: Data) -> list[float]:
    """Return how long it took, each time, until an item made for a user is his first."""
    found = []
    for user in range(FRESH):
        direction = data.users[user] / np.linalg.norm(data.users[user])
        started = time.perf_counter()
        server.update(encode_update("Y", f"fresh{user}", direction * 1000))
        while server.get(f"/recommend/u{user}")[1][0]["id"] != f"fresh{user}":
            if time.perf_counter() > started + 60:
                message = f"fresh{user} is not recommended after 60 s"
                raise RuntimeError(message)
        found.append(1000 * (time.perf_counter() - started))
    return found


def _wait_for_index(server: ServingProcess, figures: Figures) -> None:
    started = time.perf_counter()
    while "found out in" not in server.log():
        server.get("/recommend/u0")
        time.sleep(0.1)
    figures["approximate: seconds from ready to the index"].append(time.perf_counter() - started)
    line = next(line for line in server.log().splitlines() if "found out in" in line)
    print(line.partition("approximate: ")[2], flush=True)


def _recall(server: ServingProcess, data: Data) -> float:
    """Return the share of the true ten best unknown items that users are recommended."""
    shares = []
    for user in range(RECALL_USERS):
        scores = data.items @ data.users[user]
        scores[data.known[user]] = -np.inf
        best = {f"i{row}" for row in np.argpartition(scores, -TOP)[-TOP:]}
        _, rows = server.get(f"/recommend/u{user}")
        shares.append(len(best.intersection(row["id"] for row in rows)) / TOP)
    return statistics.mean(shares)


# -- peers, in this process, without HTTP ----------------------------------------------------


def _peers(data: Data) -> dict[str, Callable[[float], float]]:
    """Return for each peer what measures its queries per second, one user at a time."""
    import faiss
    import scipy.sparse
    from implicit.cpu.als import AlternatingLeastSquares

    flat = faiss.IndexFlatIP(data.items.shape[1])
    flat.add(data.items)
    model = AlternatingLeastSquares(factors=data.items.shape[1])
    model.user_factors, model.item_factors = data.users, data.items
    known = scipy.sparse.csr_matrix(
        (
            np.ones(data.known.size, np.float32),
            np.sort(data.known, axis=1).ravel(),
            np.arange(len(data.known) + 1) * data.known.shape[1],
        ),
        (len(data.users), len(data.items)),
    )

    def plain(user: int) -> object:
        scores = data.items @ data.users[user]
        scores[data.known[user]] = -np.inf
        best = np.argpartition(scores, -TOP)[-TOP:]
        return best[np.argsort(-scores[best])]

    def search_flat(user: int) -> object:
        return flat.search(data.users[user : user + 1], TOP + data.known.shape[1])

    def implicit(user: int) -> object:
        return model.recommend(user, known[user], N=TOP)

    return {
        PLAIN.partition(":")[0]: _per_second(plain, len(data.users)),
        "faiss flat": _per_second(search_flat, len(data.users)),
        "implicit recommend": _per_second(implicit, len(data.users)),
    }


def _per_second(answer: Callable[[int], object], n_users: int) -> Callable[[float], float]:
    def measured(seconds: float) -> float:
        users = iter(np.random.default_rng(3).integers(0, n_users, 1_000_000).tolist())
        started, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds / 2:
            answer(next(users))
            count += 1
        return count / elapsed

    return measured


if __name__ == "__main__":
    main()
