from __future__ import annotations

import threading

from serving_layer.search.read_write_lock import ReadWriteLock


def test_one_writes_alone_while_many_read() -> None:
    lock, inside = ReadWriteLock(), [0]
    seen: list[int] = []
    start = threading.Barrier(5)

    def read() -> None:
        start.wait(30)
        for _ in range(2000):
            with lock:
                seen.append(inside[0])

    def write() -> None:
        start.wait(30)
        for _ in range(200):
            with lock.exclusive():
                inside[0] += 1
                inside[0] -= 1

    threads = [threading.Thread(target=read) for _ in range(4)]
    threads.append(threading.Thread(target=write))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 8000
    assert set(seen) == {0}


def test_who_writes_waits_for_readers_and_keeps_others_out() -> None:
    lock = ReadWriteLock()
    events: list[str] = []
    lock.__enter__()
    writer = threading.Thread(target=lambda: _write(lock, events))
    writer.start()
    while not lock.closed:
        pass
    reader = threading.Thread(target=lambda: _read(lock, events))
    reader.start()
    assert events == []
    lock.__exit__()
    writer.join(30)
    reader.join(30)
    assert events == ["written", "read"]


def _write(lock: ReadWriteLock, events: list[str]) -> None:
    with lock.exclusive():
        events.append("written")


def _read(lock: ReadWriteLock, events: list[str]) -> None:
    with lock:
        events.append("read")
