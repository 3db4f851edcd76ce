"""What the bridge costs: requests per second of one trivial route, three ways.

``bridge`` is the serving layer's server with its application, ``flask`` a bare Flask route under
granian's WSGI interface with as many threads, ``wsgi`` a bare WSGI function there.  Each runs in
its own process; rounds are interleaved, and the median of each is printed with its ratio to
``flask``.  Needs ``wrk`` (apt-get install wrk).
"""

from __future__ import annotations

import argparse
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THREADS = 8
SERVERS = ("bridge", "flask", "wsgi")


def wsgi(environ: object, start_response: object) -> Iterable[bytes]:
    """Answer with an empty body, and nothing else."""
    start_response("200 OK", [("content-length", "0")])  # type: ignore[operator]
    return (b"",)


def run_server(kind: str, port: int) -> None:
    """Serve until killed."""
    if kind == "bridge":
        _run_bridge(port)
        return
    from granian import Granian
    from granian.constants import Interfaces

    target = f"{Path(__file__).stem}:{'wsgi' if kind == 'wsgi' else 'bare_flask'}"
    Granian(
        target,
        port=port,
        interface=Interfaces.WSGI,
        blocking_threads=THREADS,
        log_enabled=False,
        factory=kind == "flask",
        working_dir=Path(__file__).parent,
    ).serve()


def bare_flask() -> object:
    """Return a Flask application with one route and nothing else."""
    from flask import Flask, Response

    app = Flask(__name__)
    app.add_url_rule("/livez", view_func=lambda: Response())
    return app


def _run_bridge(port: int) -> None:
    from common.config import load
    from serving_layer.app import create_app
    from serving_layer.server import HttpServer, bind, limits

    settings = load(flags={"app": "wordcount", "serving.api.threads": THREADS}, environment={})
    app = create_app(settings, _NoModel(), None)
    HttpServer(app, bind("127.0.0.1", port), limits(settings)).run()


class _NoModel:
    model = None
    generation = None
    model_age_seconds = None

    def status(self) -> dict[str, object]:
        return {}


def measure(port: int, seconds: int, connections: int) -> tuple[float, str]:
    """Return requests per second, and wrk's line of latencies."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command.append(f"http://127.0.0.1:{port}/livez")
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    if rate is None or "Non-2xx" in out:
        message = f"wrk failed:\n{out}"
        raise RuntimeError(message)
    shares = re.findall(r"(50|99)%\s+([\d.]\S*)", out)
    return float(rate[1]), ", ".join(f"p{share} {value}" for share, value in shares)


def start(kind: str, port: int) -> subprocess.Popen[bytes]:
    """Start a server's process and wait until it listens."""
    command = [sys.executable, __file__, "--serve", kind, "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT}/benchmarks"})
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    process.kill()
    message = f"{kind} did not start"
    raise RuntimeError(message)


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=SERVERS)
    parser.add_argument("--port", type=int, default=20180)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    given = parser.parse_args()
    if given.serve:
        run_server(given.serve, given.port)
        return
    processes = {kind: start(kind, given.port + n) for n, kind in enumerate(SERVERS)}
    rates: dict[str, list[float]] = {kind: [] for kind in SERVERS}
    latencies = {}
    try:
        for _ in range(given.rounds):
            for n, kind in enumerate(SERVERS):
                rate, latencies[kind] = measure(given.port + n, given.seconds, given.connections)
                rates[kind].append(rate)
    finally:
        for process in processes.values():
            process.terminate()
            process.wait(20)
    flask = statistics.median(rates["flask"])
    for kind in SERVERS:
        rate = statistics.median(rates[kind])
        spread = f"[{min(rates[kind]):,.0f}-{max(rates[kind]):,.0f}]"
        print(
            f"{kind:7} {rate:8,.0f} requests/s {spread:16} {rate / flask:5.2f}  {latencies[kind]}"
        )


if __name__ == "__main__":
    main()
