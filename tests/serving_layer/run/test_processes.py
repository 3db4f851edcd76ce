"""Several workers on one port: the real server, its parent and its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
import trustme

from common.store.generations import Manifest, ModelStore
from serving_layer.operations.worker_status import KEY, State, WorkerStatus
from serving_layer.transport.sockets import ServeError, bind, join, reserve
from stack.ports import free_port
from tests.serving_layer.access.conftest import People
from tests.serving_layer.conftest import Served
from tests.serving_layer.run.test_server_process import SCRIPT, settings
from tests.serving_layer.transport.test_tls import written
from tests.waiting import wait_until

SECONDS = 60.0


class Service:
    """A service of two workers, and connections to each of them."""

    def __init__(self, folder: Path, *more: str, authority: trustme.CA | None = None) -> None:
        self.port = free_port()
        self._scheme, self._trusted = "http", httpx.create_ssl_context()
        if authority is not None:
            certificate = written(authority, folder)
            authority.configure_trust(self._trusted)
            self._scheme = "https"
            for key, value in {
                "secure_port": self.port,
                "certificate_file": certificate.file,
                "key_file": certificate.key_file,
            }.items():
                more = (*more, "--set", f"serving.api.{key}={value}")
        self._log = folder / "log"
        self._connections = ExitStack()
        arguments = [*settings(folder, self.port), "--set", "serving.api.workers=2", *more]
        with self._log.open("w") as log:
            command = [sys.executable, "-c", SCRIPT, *arguments]
            # A parent that is killed leaves its folder behind.
            variables = {**os.environ, "TMPDIR": str(folder)}
            self.process = subprocess.Popen(command, stderr=log, env=variables)
        wait_until(lambda: len(self.workers()) == 2, "two workers listen")

    @property
    def log(self) -> str:
        return self._log.read_text()

    def workers(self) -> list[int]:
        """Those that listen, by their process's number."""
        assert self.process.poll() is None, self.log
        children = psutil.Process(self.process.pid).children()
        return [child.pid for child in children if self._ports(child, psutil.CONN_LISTEN)]

    def to(self, worker: int) -> httpx.Client:
        """A client whose one connection is to this worker."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            url = f"{self._scheme}://127.0.0.1:{self.port}"
            client = httpx.Client(base_url=url, timeout=SECONDS, verify=self._trusted)
            with client.stream("GET", "/livez") as reply:
                reply.read()
                address = reply.extensions["network_stream"].get_extra_info("client_addr")
                mine = address[1] in self._ports(psutil.Process(worker), psutil.CONN_ESTABLISHED)
            if mine:
                self._connections.callback(client.close)
                return client
            client.close()
        pytest.fail(f"no connection comes to worker {worker}")

    def each(self) -> list[httpx.Client]:
        return [self.to(worker) for worker in self.workers()]

    def stop(self) -> int:
        """Stop the service if it runs, and return its exit code."""
        self._connections.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def _ports(self, process: psutil.Process, state: str) -> list[int]:
        """The other ends of a process's connections in a state; 0 where there is none."""
        try:
            found = process.net_connections("tcp")
        except psutil.NoSuchProcess:
            return []
        here = [one for one in found if one.laddr.port == self.port and one.status == state]
        return [one.raddr.port if one.raddr else 0 for one in here]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start services; they end with the test."""
    started: list[Service] = []

    def begin(*more: str, authority: trustme.CA | None = None) -> Service:
        started.append(Service(tmp_path, *more, authority=authority))
        return started[-1]

    yield begin
    for service in started:
        try:
            service.stop()
        finally:
            service.process.kill()


def total(client: httpx.Client, name: str) -> float:
    """A metric's value."""
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


VERSIONS = 'gemsbok_http_requests_total{method="GET",route="/version",status="200"}'


@pytest.mark.slow
def test_two_workers_answer_on_one_port_and_count_together(start: Callable[..., Service]) -> None:
    service = start()
    one, other = service.each()
    assert [client.get("/version").status_code for client in (one, other, one)] == [200] * 3
    assert [total(client, VERSIONS) for client in (one, other)] == [3, 3]
    wait_until(
        lambda: one.get("/metrics").text.count("resident_memory_bytes{worker=") == 2,
        "both workers tell of their memory",
    )
    assert service.stop() == 0
    for number in (1, 2):
        assert f"[worker {number}] serving_layer.transport.server: stopped" in service.log
    assert "Traceback" not in service.log


@pytest.mark.slow
def test_workers_share_a_port_of_https(start: Callable[..., Service]) -> None:
    service = start(authority=trustme.CA())
    one, other = service.each()
    assert one.post("/add/a%20b").status_code == other.post("/add/c").status_code == 204
    plain = f"http://127.0.0.1:{service.port}/livez"
    with pytest.raises(httpx.TransportError):
        httpx.get(plain, timeout=SECONDS)
    assert service.stop() == 0
    assert "Traceback" not in service.log


@pytest.mark.slow
def test_a_worker_that_was_killed_is_replaced_and_the_other_answers(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    store = ModelStore(str(tmp_path / "model"))
    folder = store.new(1000)
    (folder / "model.json").write_text('{"fox": 2}')
    store.commit(folder, Manifest(1000, "wordcount", "model.json", {}, "topic", {0: 0}))
    service = start()
    killed, left = service.workers()
    one, other = service.to(killed), service.to(left)
    wait_until(lambda: other.get("/ready").status_code == 200, "both have the model")
    assert [one.get("/version").status_code for _ in range(2)] == [200, 200]
    psutil.Process(killed).kill()
    statuses: set[int] = set()

    def replaced() -> bool:
        statuses.update((other.get("/ready").status_code, other.get("/distinct").status_code))
        return len(service.workers()) == 2 and killed not in service.workers()

    wait_until(replaced, "another worker listens")
    assert statuses == {200}
    new = next(worker for worker in service.workers() if worker != left)
    assert service.to(new).get("/distinct").json() == {"fox": 2}
    # What the killed one has counted stays counted.
    assert total(service.to(new), VERSIONS) == 2
    assert total(other, "gemsbok_worker_restarts_total") == 1
    assert "ended with code -9; again in" in service.log
    assert service.stop() == 0


@pytest.mark.slow
def test_what_a_client_relies_on_holds_for_all_workers(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    people = People(tmp_path / "users.json")
    people.add("ingest", "ingest")
    people.add("ada", "read", kind="digest")
    service = start(
        "--set",
        f"serving.api.auth.file={people.path}",
        "--set",
        "serving.api.auth.events_per_second=0.001",
    )
    one, other = service.each()
    key = {**people.token("ingest"), "Idempotency-Key": "k"}
    first, second = (client.post("/add/a%20b", headers=key) for client in (one, other))
    assert (first.status_code, second.status_code) == (204, 204)
    assert second.headers["Idempotency-Replayed"] == "true"
    # The first write has used up the quota.
    assert other.post("/add/a%20b", headers=people.token("ingest")).status_code == 429

    login = httpx.DigestAuth("ada", people.secrets["ada"])
    assert one.get("/version", auth=login).status_code == 200
    sent = other.get("/version", auth=login)
    # No second challenge: the nonce of the one holds at the other, with the next counter.
    assert (sent.status_code, sent.history) == (200, [])
    overheard = {"Authorization": sent.request.headers["Authorization"]}
    assert [client.get("/version", headers=overheard).status_code for client in (one, other)] == [
        401,
        401,
    ]


@pytest.mark.slow
def test_workers_end_with_their_parent(start: Callable[..., Service]) -> None:
    service = start()
    workers = [psutil.Process(worker) for worker in service.workers()]
    service.process.kill()
    assert psutil.wait_procs(workers, SECONDS)[1] == []


@pytest.mark.slow
def test_a_broker_that_does_not_answer_is_waited_for(start: Callable[..., Service]) -> None:
    broker = f"input_topic.broker=127.0.0.1:{free_port()}"
    service = start("--set", broker, "--set", "broker.connect_timeout_seconds=1")
    assert [client.get("/ready").status_code for client in service.each()] == [503, 503]
    assert "no broker answers" in service.log
    # The Kafka client's threads have not been where workers were forked.
    assert "threads that do not run in the workers" not in service.log
    assert service.stop() == 0


@pytest.mark.slow
def test_without_topics_it_does_not_start(tmp_path: Path) -> None:
    more = ["--set", "input_topic.broker=memory://empty", "--set", "serving.api.workers=2"]
    command = [sys.executable, "-c", SCRIPT, *settings(tmp_path, free_port()), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 69
    assert done.stderr.count("bin/gemsbok topics setup") == 1


ENDS = """
import sys, time
from serving_layer.run import processes
from common.telemetry.logs import log_to_stderr
log_to_stderr()
def work(number):
    if number == 1:
        time.sleep(600)
    return number + 2
supervisor = processes.Supervisor(2, work, lambda number: None, back_off_seconds=0.01)
sys.exit(supervisor.run() + 10)
"""


@pytest.mark.slow
def test_a_worker_that_ends_again_and_again_ends_the_service() -> None:
    command = [sys.executable, "-c", ENDS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 11, done.stderr
    assert done.stderr.count("worker 2 ended with code 4; again in") == 4
    assert "worker 2 ended with code 4, too often: the service ends" in done.stderr
    assert "worker 1" not in done.stderr


def test_it_is_ready_when_each_worker_is_that_takes_requests(served: Served) -> None:
    served.app.extensions[KEY] = board = WorkerStatus(2)
    board.note(1, State.READY)
    refused = served.client.get("/ready")
    assert refused.status_code == 503
    assert "worker 2 has not loaded the model yet" in refused.text
    for state in (State.READY, State.AWAY):
        board.note(2, state)
        assert served.client.get("/ready").status_code == 200


def test_a_reserved_port_is_for_its_workers_alone() -> None:
    with reserve("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        for take in (bind, reserve):
            with pytest.raises(ServeError, match="in use"):
                take("127.0.0.1", port)
        with join(reserved), join(reserved), pytest.raises(ServeError, match="in use"):
            bind("127.0.0.1", port)
