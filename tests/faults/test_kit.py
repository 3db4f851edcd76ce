"""The kit itself: a tool that finds nothing must not pass for a product without faults."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stack.ports import LOOPBACK
from tests.faults import harm, invariants
from tests.faults.invariants import Reply
from tests.faults.ledger import ACKNOWLEDGED, FAILED, UNKNOWN, Ledger, LedgerError, Outcomes
from tests.faults.proxy import FETCH, PRODUCE, Proxy
from tests.integration.stack import Layer
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults]


# -- the ledger -----------------------------------------------------------------------------


def test_the_ledger_tells_what_became_of_each_event(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger", "a") as ledger:
        one, two, three, four, five = (ledger.send(2) for _ in range(5))
        ledger.note(ACKNOWLEDGED, one, "204")
        ledger.note(FAILED, two, "400")
        ledger.note(UNKNOWN, three, "reset")
        found = ledger.outcomes()
    assert found == Outcomes(frozenset(one), frozenset(two), frozenset(three + four + five))
    assert len({*one, *two, *three, *four, *five}) == 10


def test_a_ledger_whose_writer_was_killed_goes_on_with_new_ids(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with Ledger(path, "a") as ledger:
        first = ledger.send(2)
    with path.open("a") as file:
        file.write('{"event": "acknowledged", "ids": ["a-000')
    with Ledger(path, "a") as ledger:
        second = ledger.send(1)
        ledger.note(ACKNOWLEDGED, second)
        found = ledger.outcomes()
    assert found == Outcomes(frozenset(second), frozenset(), frozenset(first))
    assert not {*first} & {*second}


def test_a_ledger_that_contradicts_itself_is_an_error(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger", "a") as ledger:
        ids = ledger.send(1)
        ledger.note(ACKNOWLEDGED, ids)
        ledger.note(FAILED, ids)
        with pytest.raises(LedgerError, match="already"):
            ledger.outcomes()


# -- the proxy ------------------------------------------------------------------------------


def request(api_key: int, text: bytes = b"") -> bytes:
    body = api_key.to_bytes(2, "big") + text
    return len(body).to_bytes(4, "big") + body


class Echo:
    """A server that speaks in frames: it replies to each with the same."""

    def __init__(self) -> None:
        self.frames = 0
        self._socket = socket.create_server((LOOPBACK, 0))
        self.port = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    self.frames += 1
                    connection.sendall(data)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port, seed=1) as made:
        yield made


@contextmanager
def connected(proxy: Proxy, timeout: float = 30.0) -> Iterator[socket.socket]:
    with socket.create_connection((LOOPBACK, proxy.port), timeout=timeout) as connection:
        yield connection


def exchange(connection: socket.socket, frame: bytes) -> bytes:
    connection.sendall(frame)
    return connection.recv(65536)


def read_to_end(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def test_the_proxy_passes_on_what_it_gets(proxy: Proxy) -> None:
    with connected(proxy) as one, connected(proxy) as other:
        for number in range(20):
            frame = request(PRODUCE, b"%d" % number)
            assert exchange(one, frame) == frame
            assert exchange(other, frame) == frame
    assert proxy.counts == {"connections": 2, "requests": 40, "replies": 40}


def test_the_proxy_delays_both_ways(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        proxy.delay(0.2)
        began = time.monotonic()
        exchange(connection, request(FETCH))
        assert time.monotonic() - began >= 0.4
        assert proxy.counts["delayed"] == 2


def test_the_proxy_resets_connections(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        exchange(connection, request(FETCH))
        assert proxy.reset_all() == 1
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_the_proxy_resets_a_share_of_all_connections(proxy: Proxy) -> None:
    proxy.reset_at_random(0.3)
    reset = 0
    for _ in range(50):
        with connected(proxy) as connection:
            try:
                exchange(connection, request(FETCH))
            except ConnectionResetError:
                reset += 1
    assert 10 < reset == proxy.counts["reset"] < 45


def test_what_falls_into_the_black_hole_is_lost_also_when_it_ends(proxy: Proxy, echo: Echo) -> None:
    with connected(proxy, timeout=0.3) as connection:
        exchange(connection, request(FETCH))
        proxy.drop_everything()
        with pytest.raises(TimeoutError):
            exchange(connection, request(FETCH))
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert echo.frames == 1
    with connected(proxy) as connection:
        assert exchange(connection, request(FETCH)) == request(FETCH)


def test_the_proxy_withholds_replies_of_one_kind_while_requests_pass(
    proxy: Proxy, echo: Echo
) -> None:
    proxy.withhold_replies(PRODUCE)
    with connected(proxy) as one, connected(proxy) as other:
        one.sendall(request(PRODUCE))
        assert exchange(other, request(FETCH)) == request(FETCH)
        wait_until(lambda: proxy.counts["withheld"] == 1, "the reply has come to the proxy")
        assert echo.frames == 2
        proxy.heal()
        assert one.recv(65536) == request(PRODUCE)


def test_the_proxy_cuts_a_reply_after_some_bytes(proxy: Proxy, echo: Echo) -> None:
    proxy.cut_next_reply(PRODUCE, keep=3)
    with connected(proxy) as connection:
        assert exchange(connection, request(FETCH)) == request(FETCH)
        connection.sendall(request(PRODUCE, b"x" * 100))
        with pytest.raises(ConnectionResetError):
            read_to_end(connection)
    assert (echo.frames, proxy.counts["cut"]) == (2, 1)


def test_without_a_broker_behind_it_the_proxy_ends_connections(proxy: Proxy, echo: Echo) -> None:
    with socket.create_server((LOOPBACK, 0)) as unused:
        proxy.target = unused.getsockname()[1]
    with connected(proxy) as connection:
        assert connection.recv(1) == b""


# -- harm -----------------------------------------------------------------------------------


@contextmanager
def running(code: str, folder: Path, **environment: str) -> Iterator[Layer]:
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", code],
            stdout=output,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    layer = Layer(process, log)
    try:
        yield layer
    finally:
        if process.poll() is None:
            layer.kill()


COUNT = (
    "import itertools, time\n"
    "from common.base.failpoint import failpoint\n"
    "for i in itertools.count(): print(i); failpoint('here'); time.sleep(0.01)\n"
)


@pytest.mark.slow
def test_a_process_kills_itself_at_its_failpoint(tmp_path: Path) -> None:
    with running(COUNT, tmp_path, **harm.fail_at("here", 3)) as layer:
        assert layer.process.wait(60) == -signal.SIGKILL
    assert layer.log.read_text().split() == ["0", "1", "2"]
    assert harm.group_members(layer.process.pid) == []


@pytest.mark.slow
def test_a_paused_process_does_nothing_until_it_goes_on(tmp_path: Path) -> None:
    with running(COUNT, tmp_path) as layer:
        wait_until(lambda: layer.log.stat().st_size > 0, "it counts")
        with harm.paused(layer):
            assert harm.group_members(layer.process.pid) == [layer.process.pid]
            size = layer.log.stat().st_size
            assert harm.state(layer.process.pid) == "T"
            assert layer.log.stat().st_size == size
        wait_until(lambda: layer.log.stat().st_size > size, "it counts on")


def test_files_are_truncated_and_flipped_by_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = bytes(range(200))
    path.write_bytes(before)
    at = harm.flip(path, seed=3)
    after = path.read_bytes()
    assert [i for i in range(200) if before[i] != after[i]] == [at]
    assert (before[at] ^ after[at]).bit_count() == 1
    assert harm.flip(path, seed=3) == at
    assert path.read_bytes() == before
    assert harm.truncate(path, 0.25) == 150
    assert path.read_bytes() == before[:50]


def test_a_small_disk_gets_full(tmp_path: Path) -> None:
    with harm.small_disk(tmp_path / "disk", 2) as folder:
        filler = harm.fill(folder)
        assert 1_500_000 < filler.stat().st_size <= 2 * 1024 * 1024
        with pytest.raises(OSError, match="No space left"):
            (folder / "more").write_bytes(bytes(65536))
        filler.unlink()
        assert (folder / "more").write_bytes(bytes(65536)) == 65536
    assert not os.path.ismount(tmp_path / "disk")


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "days"), [("+1d", 1), ("-2d", -2)])
def test_a_process_sees_a_shifted_clock(tmp_path: Path, shift: str, days: int) -> None:
    code = "import time; print(time.time())"
    with running(code, tmp_path, **harm.shifted_clock(shift)) as layer:
        assert layer.process.wait(60) == 0
    seen = float(layer.log.read_text())
    assert abs(seen - time.time() - days * 86400) < 120


# -- the invariants -------------------------------------------------------------------------


def outcomes(acknowledged: str, failed: str = "", unknown: str = "") -> Outcomes:
    return Outcomes(frozenset(acknowledged), frozenset(failed), frozenset(unknown))


def test_i1_counts_what_is_acknowledged() -> None:
    found = invariants.acknowledged_once(outcomes("ab", "c", "de"), {"a": 1, "b": 1, "d": 1})
    assert found == {
        "acknowledged": 2,
        "in the topic": 3,
        "failed": 1,
        "unknown": 2,
        "unknown in the topic": 1,
    }


@pytest.mark.parametrize(
    ("told", "topic", "message"),
    [
        (outcomes("ab"), {"a": 1}, "lost: .'b'"),
        (outcomes("ab"), {"a": 1, "b": 2}, "doubled: .'b'"),
        (outcomes("a", "b"), {"a": 1, "b": 1}, "failed events are in the topic: .'b'"),
        (outcomes(""), {"a": 1}, "nothing was compared"),
    ],
)
def test_i1_fails(told: Outcomes, topic: dict[str, int], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        invariants.acknowledged_once(told, topic)


CONSUMED = {0: (0, 3), 1: (5, 6)}
ROWS, LETTERS = [(0, 0), (0, 2), (1, 5)], [(0, 1)]


def test_i2_and_i3_count_rows_and_letters() -> None:
    assert invariants.history_is_whole(ROWS, LETTERS, CONSUMED) == {"rows": 3, "consumed": 4}
    letters = {"batch": [*LETTERS, *LETTERS], "speed": LETTERS}
    assert invariants.set_aside_or_kept(ROWS, letters, CONSUMED) == {"rows": 3, "set aside": 2}


@pytest.mark.parametrize(
    ("rows", "letters", "message"),
    [
        ([*ROWS, (0, 0)], LETTERS, "rows are there twice"),
        (ROWS, [], r"missing: \[\(0, 1\)"),
        (ROWS, [(0, 1), (2, 0)], r"never consumed: \[\(2, 0\)"),
    ],
)
def test_i2_fails(
    rows: list[tuple[int, int]], letters: list[tuple[int, int]], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        invariants.history_is_whole(rows, letters, CONSUMED)
    with pytest.raises(AssertionError, match="nothing was compared"):
        invariants.history_is_whole([], [], {})


@pytest.mark.parametrize(
    ("letters", "message"),
    [
        ({"speed": [(0, 0), (0, 1)]}, "were kept"),
        ({"speed": [(0, 9), (0, 1)]}, "5 records of 4"),
        ({"batch": LETTERS, "speed": []}, "speed: 3 records of 4"),
        ({}, "nothing was compared"),
    ],
)
def test_i3_fails(letters: dict[str, list[tuple[int, int]]], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        invariants.set_aside_or_kept(ROWS, letters, CONSUMED)


def replies(*rows: tuple[int, int | None, str]) -> list[Reply]:
    return [Reply("/a", *row) for row in rows]


def test_i4_and_i7_count_replies() -> None:
    given = replies((200, 1, "1"), (503, None, ""), (200, 1, "1"), (200, 2, "2"))
    found = invariants.replies_are_true(given, lambda generation, _: str(generation), {1, 2})
    assert found == {"replies": 3, "generations": 2}
    assert invariants.reads_stay_good(given[2:]) == {"reads": 2}
    with pytest.raises(AssertionError, match="1 of 4 reads failed"):
        invariants.reads_stay_good(given)
    with pytest.raises(AssertionError, match="nothing was compared"):
        invariants.reads_stay_good([])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (replies((200, 2, "2"), (200, 1, "1")), "an older one"),
        (replies((200, 3, "3")), "not complete"),
        (replies((200, 1, "2")), "oracle says '1'"),
        (replies((200, None, "1")), "no generation"),
        (replies((503, None, "")), "nothing was compared"),
    ],
)
def test_i4_fails(given: list[Reply], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        invariants.replies_are_true(given, lambda generation, _: str(generation), {1, 2})


def test_i5_waits_and_fails_in_time() -> None:
    asked = iter([False, False, True])
    assert invariants.recovers(lambda: next(asked), "it comes") >= 0.1
    with pytest.raises(AssertionError, match="I5: it comes: not in 0 s"):
        invariants.recovers(lambda: False, "it comes", seconds=0.1)


@pytest.mark.slow
def test_i6_finds_what_is_left(tmp_path: Path) -> None:
    folder, lock = tmp_path / "store", tmp_path / "lock"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model").touch()
    lock.touch()
    code = f"import fcntl; f = open({str(lock)!r}); fcntl.flock(f, fcntl.LOCK_EX); print(1)\n"
    with running(code + "import time; time.sleep(600)", tmp_path) as layer:
        group = layer.process.pid
        wait_until(lambda: layer.log.stat().st_size > 0, "it holds the lock")
        with pytest.raises(AssertionError, match=f"processes .{group}. of group {group}"):
            invariants.nothing_is_left([folder], [group], seconds=0.1)
        with pytest.raises(AssertionError, match="still held"):
            invariants.nothing_is_left([folder], [2**30], [lock])
    found = invariants.nothing_is_left([folder], [group], [lock])
    assert found == {"files": 1, "groups": 1, "locks": 1}
    for left in (".partial/2/model", "_temporary/0/part", "2/manifest.tmp"):
        (folder / left).parent.mkdir(parents=True, exist_ok=True)
        (folder / left).touch()
        with pytest.raises(AssertionError, match="temporary files are left"):
            invariants.nothing_is_left([folder], [group])
        (folder / left).unlink()
