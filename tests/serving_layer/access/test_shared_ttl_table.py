"""Records that the workers of one service share."""

from __future__ import annotations

import subprocess
import sys

from serving_layer.access.shared_ttl_table import SET_SLOTS, SLOTS_PER_RECORD, SharedTtlTable

#: Four processes add to one record; what one of them held when it was killed is free again.
SCRIPT = """
import multiprocessing, os, signal, sys, time
from serving_layer.access.shared_ttl_table import SharedTtlTable
table = SharedTtlTable("I", 10, time.monotonic)
def add(times):
    for _ in range(times):
        with table.record("sum") as record:
            record.put(float("inf"), (record.fields or (0,))[0] + 1)
def die():
    with table.record("other"):
        os.kill(os.getpid(), signal.SIGKILL)
fork = multiprocessing.get_context("fork").Process
started = [fork(target=add, args=(500,)) for _ in range(4)] + [fork(target=die)]
for one in started:
    one.start()
for one in started:
    one.join()
with table.record("sum") as record:
    print(*record.fields)
print(started[-1].exitcode)
"""


def test_processes_share_records() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["2000", "-9"], "")


def test_a_record_is_forgotten_at_its_time() -> None:
    now = [0.0]
    table = SharedTtlTable("dI", 10, lambda: now[0])
    with table.record("a", "b") as record:
        assert record.fields is None
        record.put(5.0, 1.5, 7)
    with table.record("a", "b") as record:
        assert record.fields == (1.5, 7)
    with table.record("ab") as record:
        assert record.fields is None
    now[0] = 5.0
    with table.record("a", "b") as record:
        assert record.fields is None


def test_where_all_places_are_taken_the_one_gives_way_whose_time_is_over_soonest() -> None:
    now = [0.0]
    table = SharedTtlTable("I", SET_SLOTS // SLOTS_PER_RECORD, lambda: now[0])
    for number in range(SET_SLOTS):
        with table.record(str(number)) as record:
            assert not record.crowded
            record.put(10.0 + (number + 3) % SET_SLOTS, number)
    with table.record("new") as record:
        assert record.crowded
        record.put(100.0, 99)
    left: list[int] = []
    for number in range(SET_SLOTS):
        with table.record(str(number)) as record:
            left += record.fields or ()
    # 13 + 3 is where the count of the times begins anew.
    assert left == [number for number in range(SET_SLOTS) if number != SET_SLOTS - 3]
    now[0] = 11.0
    with table.record("another") as record:
        assert not record.crowded
