"""Overhead of the serving layer for small requests: requests per second against bare servers.

    python -m benchmarks.http_overhead [--rounds 3] [--seconds 5] [--connections 32]

``probe`` is ``/livez`` and ``route`` an ordinary request (``/distinct/a``) of the serving layer's
server with its application; ``flask`` is the same route in a bare Flask application under
granian's WSGI interface with the same number of threads; ``wsgi`` is a bare WSGI function there.
Each server is a process of its own.  Rounds are interleaved; the median of each is printed with
its ratio to ``flask``.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import load, report
from common.base.paths import ROOT

THREADS = 8
START_SECONDS = 30
SERVERS = ("bridge", "flask", "wsgi")
#: Server and path of each measurement.
MEASURED = {
    "probe": ("bridge", "/livez"),
    "route": ("bridge", "/distinct/a"),
    "flask": ("flask", "/distinct/a"),
    "wsgi": ("wsgi", "/distinct/a"),
}


def wsgi(environ: object, start_response: object) -> Iterable[bytes]:
    """Reply with an empty body."""
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
    app.add_url_rule(
        "/distinct/<word>", view_func=lambda word: Response("1", mimetype="text/plain")
    )
    return app


def _run_bridge(port: int) -> None:
    from common.runtime.configuration import load as configuration
    from serving_layer.apps.wordcount import Serving
    from serving_layer.run.app import create_app
    from serving_layer.transport.server import HttpServer, limits
    from serving_layer.transport.sockets import bind
    from tests.serving_layer.held import Held

    settings = configuration(
        flags={"app": "wordcount", "serving.api.threads": THREADS}, environment={}
    )
    model = Serving(settings)
    model.counts["a"] = 1
    app = create_app(settings, Held(model), None)
    HttpServer(app, bind("127.0.0.1", port), limits(settings)).run()


@contextmanager
def serving(kind: str, port: int) -> Iterator[None]:
    """Run a server's process during the block; the block starts when the server listens."""
    command = [sys.executable, __file__, "--serve", kind, str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT}/benchmarks"})
    try:
        wait_for(process, port)
        yield
    finally:
        process.terminate()
        process.wait(20)


def wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a process listens; raises if it ends first or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    message = f"the server for port {port} has not started"
    raise RuntimeError(message)


def main() -> None:
    """Measure, or serve as a child of the measuring process."""
    if sys.argv[1:2] == ["--serve"]:
        run_server(sys.argv[2], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=20180)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    report.run("http_overhead", figures, parser, rounds=1, seconds=1)


def figures(given: argparse.Namespace) -> Iterator[report.Figure]:
    """Yield the requests per second of each, compared with the bare Flask route's."""
    outcomes: dict[str, list[dict[str, float]]] = {name: [] for name in MEASURED}
    with ExitStack() as stack:
        for number, kind in enumerate(SERVERS):
            stack.enter_context(serving(kind, given.port + number))
        for _ in range(given.rounds):
            for name, (kind, path) in MEASURED.items():
                port = given.port + SERVERS.index(kind)
                plan = load.Plan(port, given.seconds, given.connections)
                outcomes[name].append(load.outcome(load.start(plan, path)))
    rates = {
        name: [outcome["requests_per_second"] for outcome in outcomes[name]] for name in MEASURED
    }
    for name, values in rates.items():
        yield report.Figure(
            what=name,
            unit="requests/s",
            values=values,
            peer="" if name == "flask" else "flask",
            peer_values=() if name == "flask" else rates["flask"],
            notes={p: f"{outcomes[name][-1][f'{p}_ms']:.2f} ms" for p in ("p50", "p99")},
        )


if __name__ == "__main__":
    main()
