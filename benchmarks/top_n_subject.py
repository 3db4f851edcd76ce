"""Measures one server's recommendations: start, recall, rates, latency, memory, freshness."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import load
from benchmarks.alongside import alongside
from benchmarks.als_data import Data
from benchmarks.serving_process import ServingProcess
from benchmarks.top_n_peers import TOP
from common.apps.als.payload import FactorUpdates, encode_update, encode_updates

CLIENTS = (1, 8, 64)
RECALL_USERS = 300
UPDATES_PER_SECOND = 1000
FRESH = 20
#: Timeouts for building an index, and until a new item is recommended.
INDEX_SECONDS = 1800
FRESH_SECONDS = 60

#: Values of each figure; keys are a title and, after a colon, a unit.
Figures = dict[str, list[float]]


@dataclass(frozen=True)
class Subject:
    """One server.

    Attributes
    ----------
    kind : str
        ``exact`` or ``approximate``; prefix of its figures' names.
    server : ServingProcess
        The server.
    data : Data
        The served factors.
    seconds : float
        Duration of one load.
    figures : dict
        The figures are added to it.
    """

    kind: str
    server: ServingProcess
    data: Data
    seconds: float
    figures: Figures

    def begin(self, best: Sequence[set[int]], workers: int) -> None:
        """Record its start; when its index is built, recall and memory."""
        self._note(", start to ready: s", self.server.seconds_to_ready)
        if self.kind == "approximate":
            self._await_index(workers)
        self._note(", recall@10: share", statistics.mean(self._shares(best)))
        self._note_memory("at rest")

    def load(self) -> None:
        """Measure closed loops, an open loop, and a closed loop during updates."""
        for clients in CLIENTS:
            outcome = self._load_outcome(clients)
            self._note(f", {clients} clients: requests/s", outcome["requests_per_second"])
            self._note(f", {clients} clients, p50: ms", outcome["p50_ms"])
            self._note(f", {clients} clients, p99: ms", outcome["p99_ms"])
        half = self.figures[f"{self.kind}, 8 clients: requests/s"][-1] / 2
        outcome = self._load_outcome(64, half)
        self._note(", open loop at half the rate of 8, p99: ms", outcome["p99_ms"])
        with alongside(self._update):
            outcome = self._load_outcome(8)
        name = f", 8 clients and {UPDATES_PER_SECOND} updates/s: requests/s"
        self._note(name, outcome["requests_per_second"])

    def end(self) -> None:
        """Record how soon new items are recommended, and the memory at the end."""
        for user in range(FRESH):
            self._note(", a new item until recommended: ms", 1000 * self._fresh_seconds(user))
        self._note_memory("after all")

    def _note(self, name: str, value: float) -> None:
        self.figures[f"{self.kind}{name}"].append(value)

    def _note_memory(self, when: str) -> None:
        for name, size in self.server.memory_mb().items():
            self._note(f", {name} {when}: MB", size)

    def _load_outcome(self, clients: int, rate: float | None = None) -> dict[str, float]:
        plan = load.Plan(self.server.port, self.seconds, clients, rate)
        return load.outcome(load.start(plan, "/recommend/u%d", len(self.data.users)))

    def _shares(self, best: Sequence[set[int]]) -> Iterator[float]:
        """Yield for each of the first users the share of the exact top ten that is recommended."""
        for user, rows in enumerate(best):
            _, items = self.server.get(f"/recommend/u{user}")
            yield len({f"i{row}" for row in rows}.intersection(item["id"] for item in items)) / TOP

    def _await_index(self, workers: int) -> None:
        """Wait until each worker has built its index, or failed to."""
        started = time.perf_counter()
        while len(self._index_log_lines()) < workers:
            if time.perf_counter() > started + INDEX_SECONDS:
                message = f"no index after {INDEX_SECONDS} s:\n{self.server.log()[-2000:]}"
                raise RuntimeError(message)
            self.server.get("/recommend/u0")
            time.sleep(0.1)
        self._note(", ready to index: s", time.perf_counter() - started)
        print(*self._index_log_lines(), sep="\n", flush=True)

    def _index_log_lines(self) -> list[str]:
        lines = self.server.log().splitlines()
        return [line.partition("approximate: ")[2] for line in lines if "found out in" in line]

    def _update(self, done: threading.Event) -> None:
        """Change vectors of random items at a fixed rate until `done` is set."""
        random = np.random.default_rng(5)
        n_items, n_factors = map(int, self.data.items.shape)
        started, sent = time.perf_counter(), 0
        while not done.wait(0.005):
            due = int(UPDATES_PER_SECOND * (time.perf_counter() - started)) - sent
            ids = [f"i{row}" for row in random.integers(n_items, size=due)]
            vectors = random.normal(0, 0.1, (due, n_factors))
            self.server.update(*encode_updates(FactorUpdates("Y", ids, vectors)))
            sent += due

    def _fresh_seconds(self, user: int) -> float:
        """Return the time until a new item, constructed for a user, is the user's first."""
        direction = self.data.users[user] / np.linalg.norm(self.data.users[user])
        started = time.perf_counter()
        self.server.update(encode_update("Y", f"fresh{user}", direction * 1000))
        while self.server.get(f"/recommend/u{user}")[1][0]["id"] != f"fresh{user}":
            if time.perf_counter() > started + FRESH_SECONDS:
                message = f"fresh{user} is not recommended after {FRESH_SECONDS} s"
                raise RuntimeError(message)
        return time.perf_counter() - started
