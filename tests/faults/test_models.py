"""Generations that are half published or damaged: F18, F34."""

from __future__ import annotations

import json
import random
import signal

import pytest

from common.factors.files import ITEM_FACTORS, USER_FACTORS, read_factors
from common.store.generations import ModelStore, StoreError
from common.wire.messages import MODEL_REF, Message
from stack import ports
from tests.faults import harm
from tests.faults.als_publisher import commit_als, run_publisher
from tests.faults.conftest import Case
from tests.faults.evidence import Reads, dead_letters, direct, records
from tests.faults.generations import PATHS, answer, commit, publish, publish_unread
from tests.faults.invariants import (
    nothing_is_left,
    reads_stay_good,
    recovers,
    replies_are_true,
)
from tests.integration.stack import Stack
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.integration,
    pytest.mark.jvm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


def test_f18_a_generation_whose_updates_are_missing_is_never_served(case: Case) -> None:
    made = case.stack("als", **{"update_topic.factors": "topic"})
    store, replica = ModelStore.of(made.settings.batch.storage), without_files(case, made)
    first, second = (commit_als(made, number).id for number in (1, 2))
    assert run_publisher(made, first) == 0
    replica.start("serving")
    wait_until(lambda: replica.status_of("/ready") == 200, "the first generation is served")
    paths = [f"/estimate/U{user}/I{user + 1}" for user in range(5)]
    with Reads(replica.url, paths, case.folder / "reads.jsonl") as reads:
        killed = run_publisher(made, second, harm.fail_at("publish.after_model"))
        assert killed == -signal.SIGKILL
        await_more_replies_of(first, second, replica, reads)
        assert run_publisher(made, second) == 0
        recovers(lambda: second in reads.generations(), "the second generation is served")
    judge_estimates(store, reads)


@pytest.mark.thorough
def test_f18_the_batch_layer_that_was_killed_sends_it_again(case: Case) -> None:
    made = case.stack("als", **{"update_topic.factors": "topic", "als.hyperparams.features": 3})
    store, replica = ModelStore.of(made.settings.batch.storage), without_files(case, made)
    replica.start("serving")
    wait_until(lambda: replica.status_of("/livez") == 200, "serving answers")
    replica.ingest(ratings(case.draw))
    done = made.batch_once()
    assert done.process.returncode == 0, done.log.read_text()
    wait_until(lambda: replica.status_of("/ready") == 200, "the first generation is served")
    paths = [f"/estimate/u{user}/i{user + 1}" for user in range(5)]
    with Reads(replica.url, paths, case.folder / "reads.jsonl") as reads:
        replica.ingest(ratings(case.draw))
        killed = made.batch_once(harm.fail_at("publish.after_model"))
        assert killed.process.returncode == -signal.SIGKILL, killed.log.read_text()
        first, second = store.ids()
        await_more_replies_of(first, second, replica, reads)
        assert not store.is_published(second)
        done = made.batch_once()
        assert done.process.returncode == 0, done.log.read_text()
        recovers(lambda: second in reads.generations(), "the second generation is served")
    judge_estimates(store, reads)
    nothing_is_left([case.folder / "model"], [killed.process.pid, done.process.pid])


def without_files(case: Case, made: Stack) -> Stack:
    """Return a stack of the same topics that sees no files: all factors come by topic."""
    flags = {**made.flags, "batch.storage.model_dir": str(case.folder / "none")}
    return Stack(made.folder, {**flags, "serving.api.port": ports.free_port()}, made.layers)


def await_more_replies_of(first: int, second: int, replica: Stack, reads: Reads) -> None:
    """Wait until serving has the second model, without its updates, and has answered since."""
    wait_until(lambda: building(replica) == second, "serving has read the second MODEL")
    asked = len(reads.replies)
    wait_until(lambda: len(reads.replies) > asked + 50, "queries are answered")
    assert reads.generations() == {first}


def judge_estimates(store: ModelStore, reads: Reads) -> None:
    """I4 and I7 of estimates by two generations."""
    paths = {reply.path for reply in reads.replies}
    estimates = {(id_, path): estimate(store, id_, path) for id_ in store.ids() for path in paths}
    reads_stay_good(reads.replies)
    found = replies_are_true(
        reads.replies, lambda id_, path: estimates[id_, path], store.ids(), close
    )
    assert found["generations"] == len(store.ids()) == 2


def test_f34_a_damaged_model_is_refused_and_the_last_good_one_serves_on(case: Case) -> None:
    made, address = case.stack(), case.broker.direct_address
    publish(made, address, commit(made, 1))
    made.start("serving")
    wait_until(lambda: made.status_of("/ready") == 200, "the model is served")
    with Reads(made.url, PATHS, case.folder / "reads.jsonl") as reads:
        publish_damaged(case, made)
        wait_until(lambda: refused_models(made) == 2, "both are refused")
        asked = len(reads.replies)
        wait_until(lambda: len(reads.replies) > asked + len(PATHS), "queries are answered")
        publish(made, address, commit(made, 4))
        recovers(lambda: 4 in reads.generations(), "the next good generation is served")
    reads_stay_good(reads.replies)
    assert replies_are_true(reads.replies, answer, {1, 4})["generations"] == 2


@pytest.mark.thorough
def test_f34_the_speed_layer_sets_the_damaged_model_aside(case: Case) -> None:
    made, address = case.stack(), case.broker.direct_address
    topic = made.settings.update_topic
    publish(made, address, commit(made, 1, input_id(case, made)))
    speed = made.start("speed")
    wait_until(lambda: "folding in from" in speed.log.read_text(), "the first one is loaded", 120)
    publish_damaged(case, made)
    wait_until(lambda: len(records(address, topic.dead_letter)) == 2, "both are set aside")
    damaged = {
        (record.partition, record.offset)
        for record in records(address, topic.name)
        if Message.from_record(record.key, record.value, record.headers).key == MODEL_REF
    }
    letters = dead_letters(address, topic.dead_letter)
    assert {layer: set(given) for layer, given in letters.items()} == {"speed": damaged}
    assert len(damaged) == 2
    publish(made, address, commit(made, 4, input_id(case, made)))
    recovers(lambda: "generation 4:" in speed.log.read_text(), "the next good one is loaded")
    assert speed.stop() == 0, speed.log.read_text()


def publish_damaged(case: Case, made: Stack) -> None:
    """Publish generation 2, whose model was truncated, and 3, of which a bit was flipped."""
    cut, flipped = commit(made, 2), commit(made, 3)
    model = cut.path(cut.manifest.model_file)
    assert harm.truncate(model) > 0
    harm.flip(flipped.path(flipped.manifest.model_file), case.seed)
    for generation in (cut, flipped):
        with pytest.raises(StoreError, match="damaged"):
            publish(made, case.broker.direct_address, generation)
        publish_unread(made, case.broker.direct_address, generation)


def refused_models(made: Stack) -> int:
    """The metric of models that were refused."""
    name = 'gemsbok_update_topic_total{what="refused_models"}'
    lines = made.get("/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(name))


def input_id(case: Case, made: Stack) -> str:
    with direct(case.broker.direct_address) as broker:
        found = broker.topic(made.settings.input_topic.name)
    assert found is not None
    return found.topic_id


def building(made: Stack) -> int | None:
    found: int | None = made.get("/status").json()["model"]["building"]
    return found


def ratings(draw: random.Random) -> list[str]:
    return [f"u{user},i{(user + draw.randrange(1, 4)) % 12},1" for user in [*range(12)] * 8]


def estimate(store: ModelStore, generation: int, path: str) -> str:
    """The oracle: the product of the factors in the generation's files."""
    _, _, user, item = path.split("/")
    found = store.get(generation)
    users = read_factors(found.path(USER_FACTORS))
    items = read_factors(found.path(ITEM_FACTORS))
    x = users.vectors[list(users.ids).index(user)]
    y = items.vectors[list(items.ids).index(item)]
    return f"[{x @ y}]"


def close(body: str, expected: str) -> bool:
    return bool(json.loads(body) == pytest.approx(json.loads(expected), rel=1e-5))
