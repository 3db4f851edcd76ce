"""The loop as its users run it: real processes, a real broker, and each layer killed at work."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from common.broker.api import read_all
from common.wire.messages import PROGRESS, Message, Progress
from stack import ports
from tests.integration.stack import Stack, stack
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

USERS, ITEMS, GROUPS = 60, 40, 4


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, kafka_broker: str) -> Iterator[Stack]:
    """One stack for the module: its tests are the chapters of one story, in order."""
    with stack(tmp_path_factory.mktemp("loop"), kafka_broker, "als") as made:
        yield made


def history_lines() -> list[str]:
    """Users and items in four groups; who is in a group likes its items."""
    draw = random.Random(3)
    lines = []
    for user in range(USERS):
        liked = [item for item in range(ITEMS) if item % GROUPS == user % GROUPS]
        for item in draw.sample(liked, 6) + draw.sample(range(ITEMS), 1):
            lines.append(f"u{user},i{item},1,{1_000_000 + len(lines)}")
    return lines


def input_values(made: Stack) -> Counter[str]:
    """Count the lines on the input topic."""
    name = made.settings.input_topic.name
    with made.broker() as broker:
        reader = broker.reader(name)
        found = Counter(
            record.value.decode()
            for record in read_all(reader, broker.end_offsets(name))
            if record.value is not None
        )
        reader.close()
    return found


def folded(made: Stack) -> dict[int, int]:
    """Return the input offsets that the newest PROGRESS on the update topic names."""
    name = made.settings.update_topic.name
    progress = Progress()
    with made.broker() as broker:
        reader = broker.reader(name)
        for record in read_all(reader, broker.end_offsets(name)):
            message = Message.from_record(record.key, record.value, record.headers)
            if message.key == PROGRESS:
                progress = Progress.from_value(message.value)
        reader.close()
    return dict(progress.offsets)


def all_folded(made: Stack) -> bool:
    """Whether the speed layer has folded in all that is on the input topic."""
    with made.broker() as broker:
        return folded(made) == broker.end_offsets(made.settings.input_topic.name)


def answers(made: Stack) -> dict[str, list[tuple[str, float]]]:
    """Return what every user is recommended."""
    found = {}
    for user in sorted(made.get("/user/allIDs").json()):
        rows = made.get(f"/recommend/{user}", params={"howMany": 5}).json()
        found[user] = [(row["id"], round(row["value"], 5)) for row in rows]
    return found


def test_1_before_the_first_model_events_are_taken_and_queries_say_why_not(loop: Stack) -> None:
    loop.start("serving")
    wait_until(lambda: loop.status_of("/livez") == 200, "serving answers")
    loop.ingest(history_lines())
    reply = loop.get("/recommend/u0")
    assert reply.status_code == 503
    assert "batch" in reply.text
    assert sum(input_values(loop).values()) == USERS * 7


def test_2_a_batch_layer_killed_after_its_commit_doubles_nothing(loop: Stack) -> None:
    killed = loop.batch_once({"GEMSBOK_FAILPOINT": "history.after_commit"})
    assert killed.process.returncode == -9, killed.log.read_text()
    done = loop.batch_once()
    assert done.process.returncode == 0, done.log.read_text()
    assert f"{USERS * 7} new and 0 past rows" in done.log.read_text()


def test_3_the_generation_is_served(loop: Stack) -> None:
    wait_until(lambda: loop.status_of("/ready") == 200, "the model is served")
    reply = loop.get("/recommend/u0", params={"howMany": 3})
    groups = [int(row["id"][1:]) % GROUPS for row in reply.json()]
    assert groups.count(0) >= 2, reply.text
    assert reply.headers["X-Model-Generation"].isdecimal()


def test_4_a_user_who_did_not_exist_is_recommended_to(loop: Stack) -> None:
    loop.start("speed")
    assert loop.status_of("/recommend/newcomer") == 404
    loop.ingest(["newcomer,i1", "newcomer,i5", "newcomer,i9"])
    wait_until(lambda: loop.status_of("/recommend/newcomer") == 200, "the newcomer is known")
    wait_until(lambda: len(loop.get("/knownItems/newcomer").json()) == 3, "all three items are")
    rows = loop.get("/recommend/newcomer", params={"howMany": 3}).json()
    assert [int(row["id"][1:]) % GROUPS for row in rows].count(1) >= 2, rows


def test_5_a_speed_layer_killed_at_work_leaves_the_same_answers_to_all(loop: Stack) -> None:
    draw = random.Random(5)
    lines = [f"v{draw.randrange(30)},i{draw.randrange(ITEMS)},1" for _ in range(400)]
    speed = loop.layers[-1]
    sender = threading.Thread(target=lambda: [loop.ingest([line]) for line in lines])
    sender.start()
    wait_until(lambda: loop.status_of("/recommend/v1") == 200, "the speed layer is at work")
    speed.kill()
    sender.join()
    loop.start("speed")
    wait_until(lambda: all_folded(loop), "everything is folded in")
    expected = answers(loop)
    assert len(expected) == USERS + 1 + 30
    with_port = {**loop.flags, "serving.api.port": ports.free_port()}
    replica = Stack(loop.folder, with_port, layers=loop.layers)
    started = replica.start("serving")
    wait_until(lambda: replica.status_of("/ready") == 200, "the replica is ready")
    wait_until(lambda: answers(replica) == answers(loop), "both replicas answer alike")
    assert started.stop() == 0


def test_6_a_serving_layer_killed_at_work_loses_nothing_acknowledged(loop: Stack) -> None:
    acknowledged: list[str] = []
    serving = loop.layers[0]

    def send() -> None:
        for number in range(2000):
            line = f"w{number},i{number % ITEMS},1,{2_000_000 + number}"
            try:
                loop.ingest([line])
            except httpx.HTTPError:
                return
            acknowledged.append(line)

    sender = threading.Thread(target=send)
    sender.start()
    wait_until(lambda: len(acknowledged) > 100, "events are being acknowledged")
    serving.kill()
    sender.join()
    loop.layers[0] = loop.start("serving")
    found = input_values(loop)
    expected = [line.replace(",1,", ",1.0,") for line in acknowledged]
    assert len(expected) > 100
    assert all(found[line] == 1 for line in expected)
    wait_until(lambda: loop.status_of("/ready") == 200, "the model is served again")
    last = acknowledged[-1].split(",")[0]
    wait_until(lambda: loop.status_of(f"/recommend/{last}") == 200, "the last event counts")


def test_7_the_next_generation_takes_over_and_forgets_nobody(loop: Stack) -> None:
    before = loop.get("/ready").headers["X-Model-Generation"]
    known = set(loop.get("/user/allIDs").json())
    loop.ingest(["late,i2", "late,i6"])
    done = loop.batch_once()
    assert done.process.returncode == 0, done.log.read_text()
    wait_until(
        lambda: loop.get("/ready").headers.get("X-Model-Generation") != before, "it takes over"
    )
    assert set(loop.get("/user/allIDs").json()) >= known | {"late"}
    loop.ingest(["later,i3"])
    wait_until(lambda: loop.status_of("/recommend/later") == 200, "the speed layer follows")


def test_8_history_holds_each_event_once(loop: Stack, spark) -> None:  # type: ignore[no-untyped-def]
    rows = spark.read.format("delta").load(str(Path(loop.folder) / "data" / "als"))
    total = rows.count()
    assert total == rows.select("topic_id", "partition", "offset").distinct().count()
    # The last event came after the last generation.
    assert total == sum(input_values(loop).values()) - 1
