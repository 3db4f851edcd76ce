"""Bad records of the update topic: set aside by the speed layer, and serving serves on."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from common.base.hashing import sha256_hex
from common.broker import BrokerError, Record
from common.broker.api import read_all
from common.broker.memory import MemoryBroker
from common.replica.updates import ModelMessage, stored
from common.store.generations import Generation, ModelStore, StoreError
from common.store.signing import signature
from common.wire.messages import (
    MODEL,
    MODEL_REF,
    PROGRESS,
    UP,
    WRITER,
    MessageError,
    Progress,
    Stamp,
)
from serving_layer.apps.als.routes import Serving
from serving_layer.model.consumer import Consumer
from serving_layer.model.generations import Sources
from speed_layer.apps.als.model import Speed
from speed_layer.run.follower import KEPT_BYTES, Follower
from tests.serving_layer.apps.als.fixture import commit, pmml, settings

TOPIC = "gemsbok.update"
VECTOR = '["X","U0",[1.0,2.0],["I0"]]'


#: It asks for 72 TB.
HUGE = re.sub('(name="features" value=)"[0-9]+"', r'\1"3000000"', pmml()).encode()


@dataclass
class Readers:
    """Both layers on one update topic, with the model of the fixture served."""

    folder: Path
    broker: MemoryBroker = field(default_factory=lambda: MemoryBroker(clock=lambda: 1000))
    key: bytes | None = None

    def __post_init__(self) -> None:
        self.settings = settings()
        self.broker.create_topic(TOPIC, 1)
        self.broker.create_topic(f"{TOPIC}.dlq", 1)
        self.generation = commit(self.folder)
        self.store = ModelStore(str(self.folder / "store"), self.key)
        if self.key is not None:
            self._sign(self.key)
        self.follower = Follower("als", self.settings.update_topic, self.store, lambda: self.broker)
        sources = Sources(
            lambda: self.broker, self.store, functools.partial(Serving, self.settings)
        )
        self.consumer = Consumer(self.settings, sources)
        self.send(MODEL_REF, self.generation.reference, published(self.generation))
        self.consumer.swap_if_ready()
        assert self.consumer.generation == self.generation.id
        assert self.letters() == []

    def _sign(self, key: bytes) -> None:
        folder = self.folder / "store" / str(self.generation.id)
        signed = signature(key, (folder / "manifest.json").read_bytes())
        (folder / "manifest.hmac").write_text(signed, encoding="ascii")

    def send(self, key: str | None, value: str | bytes, stamp: Stamp | None = None) -> None:
        """Put a record on the topic and let both layers read it, as their threads do."""
        producer = self.broker.producer()
        producer.send(TOPIC, key, value, stamp.to_headers() if stamp else ())
        producer.flush()
        at = self.broker.end_offsets(TOPIC)[0] - 1
        (record,) = read_all(self.broker.reader(TOPIC, {0: at}), {0: at + 1})
        self.feed(record)

    def feed(self, record: Record) -> None:
        known = self.follower.newer_than(None, 0)
        self.follower.feed([record])
        self.consumer.feed([record])
        self._fold(known)
        self.follower.write_dead_letters(self.broker.producer())

    def _fold(self, known: ModelMessage | None) -> None:
        """Do what the speed layer does with what its follower has found."""
        newest = self.follower.newer_than(known, 0)
        if newest is not None:
            try:
                Speed(self.settings).load(newest)
            except (MessageError, StoreError) as error:
                self.follower.refuse(newest, error)
        model = Speed(self.settings)
        model.load(stored(self.generation))
        for found, record in self.follower.take_foreign():
            assert isinstance(found, str)
            try:
                model.apply_foreign(found)
            except MessageError as error:
                self.follower.set_aside(record, "bad_update", error)

    def letters(self) -> list[tuple[str, bytes]]:
        """Code and value of the dead letters."""
        topic = f"{TOPIC}.dlq"
        found = read_all(self.broker.reader(topic), self.broker.end_offsets(topic))
        return [
            (dict(letter.headers)["reason"].decode().partition(":")[0], letter.value or b"")
            for letter in found
        ]

    def assert_serving(self, speed: int | None = None) -> None:
        """Assert that the last good model is served, and that the speed layer has it or `speed`."""
        self.consumer.swap_if_ready()
        assert self.consumer.generation == self.generation.id
        newest = self.follower.newer_than(None, 0)
        assert newest is not None
        assert newest.generation == (speed or self.generation.id)
        assert isinstance(self.consumer.model, Serving)
        assert self.consumer.model.fraction_loaded == 1.0


def published(generation: Generation, **changes: str) -> Stamp:
    """The stamp of a generation's MODEL-REF."""
    text = generation.model_text()
    stamp = Stamp(generation.id, 0, sha256_hex(text.encode()), manifest=generation.manifest_sha256)
    return replace(stamp, **changes)  # type: ignore[arg-type]


@pytest.fixture
def readers(tmp_path: Path) -> Readers:
    return Readers(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        pytest.param("NEWS", b"x", "unknown_key", id="T05-unknown"),
        pytest.param(None, b"x", "unknown_key", id="T05-no-key"),
        pytest.param(MODEL, b"\xff", "parse", id="T02-not-utf-8"),
        pytest.param(MODEL, b"<PMML", "bad_model", id="T06-not-xml"),
        pytest.param(MODEL, b"<a/>", "bad_model", id="T06-wrong-root"),
        pytest.param(MODEL, b"<!DOCTYPE a><PMML/>", "bad_model", id="T06-dtd"),
        pytest.param(MODEL, HUGE, "bad_model", id="A2-features"),
        pytest.param(WRITER, b"?", "parse", id="T05-claim"),
        pytest.param(MODEL_REF, b"http://127.0.0.1:9/m", "ref_denied", id="T07-http"),
        pytest.param(MODEL_REF, b"/dev/zero", "ref_denied", id="T07-device"),
        pytest.param(MODEL_REF, b"../../etc/passwd", "ref_denied", id="T07-relative"),
        pytest.param(UP, b"not json", "bad_update", id="T09-not-json"),
        pytest.param(UP, b'["X","U0",[1.0]]', "bad_update", id="T09-rank"),
        pytest.param(UP, b'["X","U0",[1.0,NaN]]', "bad_update", id="T09-nan"),
        pytest.param(PROGRESS, b'{"offsets": 3}', "parse", id="T09-progress"),
    ],
)
def test_a_bad_record_is_set_aside(
    readers: Readers, key: str | None, value: bytes, code: str
) -> None:
    readers.send(key, value)
    assert readers.letters() == [(code, value)]
    readers.assert_serving()
    readers.send(UP, VECTOR)
    assert len(readers.letters()) == 1
    assert readers.consumer.counts["updates"] == 1


def test_t03_an_unknown_version_is_set_aside(readers: Readers) -> None:
    headers = [("gemsbok-version", b"99"), ("generation", b"1"), ("sequence", b"1")]
    producer = readers.broker.producer()
    producer.send(TOPIC, UP, VECTOR, headers)
    producer.flush()
    (record,) = read_all(readers.broker.reader(TOPIC, {0: 1}), {0: 2})
    readers.feed(record)
    assert readers.letters() == [("schema", VECTOR.encode())]
    assert readers.consumer.counts["bad_records"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        [("gemsbok-version", None)],
        [("gemsbok-version", b"1"), ("generation", None), ("sequence", b"1")],
        [*Stamp(1, 1).to_headers(), ("epoch", None)],
    ],
)
def test_d4_a_header_without_a_value_is_set_aside(
    readers: Readers, headers: list[tuple[str, bytes | None]]
) -> None:
    readers.feed(Record(0, 1, 1000, b"UP", VECTOR.encode(), headers))
    assert readers.letters() == [("parse", VECTOR.encode())]
    assert readers.consumer.counts["bad_records"] == 1
    readers.assert_serving()


def test_a13_a_stamped_key_of_a_later_version_is_passed_over_counted(readers: Readers) -> None:
    for version in (b"1", b"2"):
        headers = [("gemsbok-version", version)]
        readers.feed(Record(0, 1, 1000, b"RELEASE", None, headers))
    assert readers.letters() == []
    assert readers.consumer.counts["unknown_stamped_keys"] == 2
    assert readers.follower.counts["unknown_stamped_keys"] == 2
    assert readers.consumer.counts["bad_records"] == 0
    readers.assert_serving()


def test_a13_fields_of_a_later_manifest_are_counted(tmp_path: Path) -> None:
    generation = commit(tmp_path)
    manifest = tmp_path / "store" / str(generation.id) / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "variants": []}))
    broker = MemoryBroker()
    broker.create_topic(TOPIC, 1)
    sources = Sources(lambda: broker, generation.store, functools.partial(Serving, settings()))
    consumer = Consumer(settings(), sources)
    consumer.load_newest(broker)
    consumer.swap_if_ready()
    assert consumer.generation == generation.id
    assert consumer.counts["unknown_manifest_fields"] == 1


@pytest.mark.parametrize(
    "reach",
    [
        pytest.param(lambda store: f"{store}/../secret", id="T07-S04-dots"),
        pytest.param(lambda store: f"{store}/link", id="T07-S04-symlink"),
        pytest.param(lambda store: f"{store}/folder-link/secret", id="T07-S04-symlinked-folder"),
        pytest.param(lambda store: f"{store}/pipe", id="T07-S04-fifo"),
        pytest.param(lambda store: f"file://{store}/../secret", id="T07-file-uri"),
    ],
)
def test_a_reference_leads_to_regular_files_of_the_store_alone(
    readers: Readers, tmp_path: Path, reach: Callable[[Path], str]
) -> None:
    store = tmp_path / "store"
    (tmp_path / "secret").write_text(pmml(), encoding="utf-8")
    (store / "link").symlink_to(tmp_path / "secret")
    (store / "folder-link").symlink_to(tmp_path)
    os.mkfifo(store / "pipe")
    readers.send(MODEL_REF, reach(store))
    assert [code for code, _ in readers.letters()] == ["ref_denied"]
    assert readers.consumer.counts["refused_models"] == 1
    readers.assert_serving()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"sha256": "0" * 64}, id="T08-model"),
        pytest.param({"manifest": "0" * 64}, id="T08-manifest"),
    ],
)
def test_what_is_not_what_was_published_is_set_aside(
    readers: Readers, changes: dict[str, str]
) -> None:
    later = another(readers)
    readers.send(MODEL_REF, later.reference, published(later, **changes))
    assert [code for code, _ in readers.letters()] == ["checksum"]
    readers.assert_serving()


def test_t08_a_damaged_file_is_set_aside(readers: Readers, tmp_path: Path) -> None:
    later = another(readers)
    stamp = published(later)
    factors = (
        tmp_path
        / "store"
        / str(later.id)
        / next(name for name in later.manifest.files if name.startswith("item_factors"))
    )
    damaged = bytearray(factors.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    factors.write_bytes(damaged)
    readers.send(MODEL_REF, later.reference, stamp)
    assert [code for code, _ in readers.letters()] == ["checksum"]
    readers.assert_serving()


def another(readers: Readers, id_: int = 2000) -> Generation:
    """Commit one more generation, with the content of the first."""
    source = readers.folder / "store" / str(readers.generation.id)
    into = readers.store.new(id_)
    for name in readers.generation.manifest.files:
        (into / name).write_bytes((source / name).read_bytes())
    manifest = readers.generation.manifest
    return readers.store.commit(into, replace(manifest, generation=id_, parent=1000))


def test_t10_updates_of_no_model_are_ignored_and_counted(tmp_path: Path) -> None:
    readers = Readers(tmp_path)
    readers.send(UP, VECTOR, Stamp(500, 7))
    assert readers.consumer.counts["updates_of_other_generations"] == 1
    readers.send(MODEL_REF, readers.generation.reference, published(readers.generation))
    assert readers.consumer.counts["old_models"] == 1
    assert readers.follower.counts["old_models"] == 1
    assert readers.letters() == []
    readers.assert_serving()


def test_t10_updates_before_a_model_are_ignored_and_counted(tmp_path: Path) -> None:
    found = settings()
    broker = MemoryBroker()
    broker.create_topic(TOPIC, 1)
    store = ModelStore(str(tmp_path / "empty"))
    follower = Follower("als", found.update_topic, store, lambda: broker)
    sources = Sources(lambda: broker, store, functools.partial(Serving, found))
    consumer = Consumer(found, sources)
    record = Record(0, 0, 1000, UP.encode(), VECTOR.encode())
    follower.feed([record])
    consumer.feed([record])
    assert follower.counts["updates_before_a_model"] == 1
    assert consumer.counts["updates_before_a_model"] == 1
    assert follower.take_foreign() == []


def test_t11_a_generation_that_is_not_complete_is_not_served(readers: Readers) -> None:
    readers.send(MODEL, pmml(), Stamp(5000, 0, sha256_hex(pmml().encode()), updates=17))
    for sequence, user in enumerate(("U0", "U1", "U2"), 1):
        readers.send(UP, f'["X","{user}",[1.0,2.0],[]]', Stamp(5000, sequence))
    readers.send(PROGRESS, Progress({0: 9}).to_value(), Stamp(5000, 4))
    assert readers.consumer.status()["building"] == 5000
    readers.assert_serving(speed=5000)


def test_a_large_record_leaves_its_hash_alone(readers: Readers) -> None:
    value = b"<a>" + b" " * KEPT_BYTES + b"</a>"
    readers.send(MODEL, value)
    assert readers.letters() == [("bad_model", b"")]
    (letter,) = read_all(
        readers.broker.reader(f"{TOPIC}.dlq"), readers.broker.end_offsets(f"{TOPIC}.dlq")
    )
    headers = dict(letter.headers)
    assert headers["sha256"].decode() == hashlib.sha256(value).hexdigest()
    assert (headers["layer"], headers["topic"]) == (b"speed", TOPIC.encode())
    assert (headers["partition"], headers["offset"]) == (b"0", b"1")


def test_a_dead_letter_that_is_not_acknowledged_is_written_later(readers: Readers) -> None:
    readers.broker.fail_next_flush = BrokerError("gone", retriable=True)
    readers.follower.set_aside(Record(0, 5, 1000, b"X", b"x"), "unknown_key", "why")
    with pytest.raises(BrokerError):
        readers.follower.write_dead_letters(readers.broker.producer())
    assert readers.letters() == []
    readers.follower.write_dead_letters(readers.broker.producer())
    readers.follower.write_dead_letters(readers.broker.producer())
    assert readers.letters() == [("unknown_key", b"x")]


@pytest.fixture
def signed(tmp_path: Path) -> Readers:
    """The readers of a store that has a key."""
    return Readers(tmp_path, key=b"k" * 32)


def test_t12_s23_a_signed_generation_is_served(signed: Readers) -> None:
    later = another(signed)
    signed.send(MODEL_REF, later.reference, published(later))
    signed.consumer.swap_if_ready()
    assert signed.letters() == []
    assert signed.consumer.generation == later.id


def test_t12_s23_a_model_of_somebody_else_is_set_aside(signed: Readers, tmp_path: Path) -> None:
    later = another(signed)
    good, text = published(later), later.model_text()
    path = tmp_path / "store" / str(later.id) / "manifest.hmac"
    path.write_text("0" * 64, encoding="ascii")
    signed.send(MODEL_REF, later.reference, good)
    path.unlink()
    signed.send(MODEL_REF, later.reference, good)
    signed.send(MODEL, text, replace(good, updates=3))
    # Signed itself, but not what the record brings.
    other = another(signed, 3000)
    signed.send(MODEL, "<PMML/>", Stamp(3000, 0, sha256_hex(b"<PMML/>"), other.manifest_sha256))
    signed.send(MODEL, text)
    assert [code for code, _ in signed.letters()] == ["bad_signature"] * 5
    assert signed.consumer.counts["refused_models"] == 5
    signed.assert_serving()
