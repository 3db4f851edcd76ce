"""Load generator: requests over many connections from one thread, closed or open loop.

    python -m benchmarks.load --port 8080 --path /livez --connections 8
    python -m benchmarks.load --port 8080 --path /recommend/u%d --numbers 100000 --rate 500

Closed loop (no ``--rate``): each connection sends its next request when the previous one is
answered.  Open loop: requests are due at random times, on average ``--rate`` per second, whether
or not the server keeps up; latency counts from the time at which a request is due.  The client is
one epoll loop, to use as little as possible of the cores that it shares with the server.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from common.base.paths import ROOT


@dataclass(frozen=True)
class Plan:
    """Duration, connections, and rate (None for a closed loop) of a load."""

    port: int
    seconds: float
    connections: int
    rate: float | None = None


@dataclass
class Result:
    """Latencies of successful replies, and numbers of other replies by status."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Successful replies per second."""
        return len(self.latencies) / self.seconds

    def milliseconds(self, percent: float) -> float:
        """Return a percentile of the successful replies' latencies."""
        return float(np.percentile(self.latencies, percent)) * 1000

    def summary(self) -> dict[str, object]:
        """Return the figures as one JSON object."""
        return {
            "requests_per_second": self.rate,
            "p50_ms": self.milliseconds(50),
            "p99_ms": self.milliseconds(99),
            "requests": len(self.latencies),
            "errors": dict(self.errors),
        }


class _Connection:
    """One connection with at most one request in flight."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._received = b""

    def send(self, request: bytes, due: float) -> None:
        """Send a request that is due at the given time."""
        self.due = due
        self.socket.sendall(request)

    def status(self) -> str | None:
        """Receive data; return the status of a complete reply, or None while it is incomplete."""
        data = self.socket.recv(1 << 16)
        if not data:
            return "closed"
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
        if not separator or len(body) < int(length or 0):
            return None
        self._received = b""
        return head[9:12].decode()


class _Loop:
    def __init__(self, plan: Plan, requests: Sequence[bytes]) -> None:
        self._plan = plan
        self._requests = requests
        self._sent = 0
        self._free = deque(_Connection(plan.port) for _ in range(plan.connections))
        self._by_fd = {one.socket.fileno(): one for one in self._free}
        self._poll = select.epoll()
        for number in self._by_fd:
            self._poll.register(number, select.EPOLLIN)
        self._result = Result()

    def run(self) -> Result:
        started = time.perf_counter()
        end = started + self._plan.seconds
        due = _closed(end) if self._plan.rate is None else _open(self._plan.rate, end)
        upcoming = next(due, None)
        while upcoming is not None or len(self._free) < len(self._by_fd):
            now = time.perf_counter()
            while upcoming is not None and upcoming <= now and self._free:
                self._send(upcoming if self._plan.rate else now)
                upcoming = next(due, None)
            waits = 10.0 if upcoming is None or not self._free else max(0.0, upcoming - now)
            for number, _ in self._poll.poll(waits):
                self._receive(self._by_fd[number])
        self._result.seconds = time.perf_counter() - started
        for connection in self._by_fd.values():
            connection.socket.close()
        return self._result

    def _send(self, due: float) -> None:
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        self._free.popleft().send(request, due)

    def _receive(self, connection: _Connection) -> None:
        status = connection.status()
        if status is None:
            return
        self._free.append(connection)
        if status == "closed":
            message = f"the server closed a connection after {self._sent} requests"
            raise ConnectionError(message)
        if status[0] == "2":
            self._result.latencies.append(time.perf_counter() - connection.due)
        else:
            self._result.errors[status] += 1


def _closed(end: float) -> Iterator[float]:
    """Yield times in the past: a request is due whenever a connection is free."""
    while time.perf_counter() < end:
        yield 0.0


def _open(rate: float, end: float) -> Iterator[float]:
    """Yield the times of a Poisson process."""
    random = np.random.default_rng(1)
    due = time.perf_counter()
    while (due := due + random.exponential(1 / rate)) < end:
        yield due


def get(path: str) -> bytes:
    """Return the bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def run(plan: Plan, requests: Sequence[bytes]) -> Result:
    """Send the requests in a cycle and return the result."""
    return _Loop(plan, requests).run()


def start(plan: Plan, path: str, numbers: int = 1) -> subprocess.Popen[str]:
    """Start a process that runs a plan; ``%d`` in the path becomes a random number < `numbers`."""
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(plan.port), "--path", path]
    command += ["--numbers", str(numbers), "--seconds", str(plan.seconds)]
    command += ["--connections", str(plan.connections)]
    command += [] if plan.rate is None else ["--rate", str(plan.rate)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> dict[str, float]:
    """Wait for a process of :func:`start`; return its figures.

    Raises
    ------
    RuntimeError
        If the process failed, or a request had an error.
    """
    output, _ = process.communicate()
    figures = json.loads(output) if process.returncode == 0 else {"errors": process.returncode}
    if figures.pop("errors"):
        message = f"the load had errors: {output or 'see above'}"
        raise RuntimeError(message)
    return dict(figures)


def main() -> None:
    """Run one load and print its figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True, help="%%d in it becomes a random number")
    parser.add_argument("--numbers", type=int, default=1, help="below which the numbers lie")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rate", type=float, help="requests a second; as many as go if absent")
    given = parser.parse_args()
    paths = [given.path]
    if "%d" in given.path:
        numbers = np.random.default_rng(2).integers(0, given.numbers, 10_000)
        paths = [given.path.replace("%d", str(number)) for number in numbers]
    plan = Plan(given.port, given.seconds, given.connections, given.rate)
    print(json.dumps(run(plan, [get(path) for path in paths]).summary()))


if __name__ == "__main__":
    main()
