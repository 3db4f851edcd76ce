"""What the serving layer adds to a small request: requests per second, beside the bare ones.

    python -m benchmarks.http_overhead [--rounds 3] [--seconds 5] [--connections 32]

``probe`` is ``/livez`` and ``route`` an ordinary request (``/distinct/a``) of the serving
layer's server with its application; ``flask`` the same route in a bare Flask application under
granian's WSGI interface with as many threads; ``wsgi`` a bare WSGI function there.  Each server
is a process of its own; rounds are interleaved, and the median of each is printed with its ratio
to ``flask``.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import report

ROOT = Path(__file__).resolve().parent.parent
THREADS = 8
SERVERS = ("bridge", "flask", "wsgi")
#: What is measured: a server and a path.
MEASURED = {
    "probe": ("bridge", "/livez"),
    "route": ("bridge", "/distinct/a"),
    "flask": ("flask", "/distinct/a"),
    "wsgi": ("wsgi", "/distinct/a"),
}


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
    app.add_url_rule(
        "/distinct/<word>", view_func=lambda word: Response("1", mimetype="text/plain")
    )
    return app


def _run_bridge(port: int) -> None:
    from common.config import load
    from serving_layer.app import create_app
    from serving_layer.apps.wordcount import Serving
    from serving_layer.server import HttpServer, bind, limits

    settings = load(flags={"app": "wordcount", "serving.api.threads": THREADS}, environment={})
    model = Serving(settings)
    model.counts["a"] = 1
    app = create_app(settings, _Held(model), None)
    HttpServer(app, bind("127.0.0.1", port), limits(settings)).run()


class _Held:
    generation = 1000
    model_age_seconds = 1.0

    def __init__(self, model: object) -> None:
        self.model: Any = model

    def status(self) -> dict[str, object]:
        return {}


def measure(port: int, path: str, seconds: int, connections: int) -> dict[str, Any]:
    """Return what the load generator found; raises where a request had an error."""
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(port), "--path", path]
    command += ["--seconds", str(seconds), "--connections", str(connections)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    if found["errors"]:
        message = f"{path} had errors: {found['errors']}"
        raise RuntimeError(message)
    return found


def start(kind: str, port: int) -> subprocess.Popen[bytes]:
    """Start a server's process and wait until it listens."""
    command = [sys.executable, __file__, "--serve", kind, str(port)]
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
    """Measure, or serve for the process that measures."""
    if sys.argv[1:2] == ["--serve"]:
        run_server(sys.argv[2], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=20180)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    report.run("http_overhead", figures, parser)


def figures(given: argparse.Namespace) -> Iterator[report.Figure]:
    """Yield requests per second of each, beside the bare Flask route's."""
    seconds = 1 if given.quick else given.seconds
    processes = {kind: start(kind, given.port + n) for n, kind in enumerate(SERVERS)}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in MEASURED}
    try:
        for _ in range(given.rounds):
            for name, (kind, path) in MEASURED.items():
                port = given.port + SERVERS.index(kind)
                found[name].append(measure(port, path, seconds, given.connections))
    finally:
        for process in processes.values():
            process.terminate()
            process.wait(20)
    rates = {name: [one["requests_per_second"] for one in found[name]] for name in MEASURED}
    for name, values in rates.items():
        yield report.Figure(
            what=name,
            unit="requests/s",
            values=values,
            peer="" if name == "flask" else "flask",
            peer_values=() if name == "flask" else rates["flask"],
            notes={p: f"{found[name][-1][f'{p}_ms']:.2f} ms" for p in ("p50", "p99")},
        )


if __name__ == "__main__":
    main()
