"""``python -m tests.faults.als_publisher GENERATION KEY=VALUE...``: publishes as batch does.

It starts no Spark: a test that kills it at a failpoint of publishing takes seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from batch_layer.apps.als import Batch
from common.broker import open_broker
from common.factors.files import ITEM_FACTORS, USER_FACTORS, write_factors
from common.replica.publisher import Publisher
from common.runtime.configuration import load
from common.store.generations import Generation, Manifest, ModelStore
from tests.integration.stack import Stack
from tests.serving_layer.apps.als.fixture import ITEMS, KNOWN, USERS, X, Y, pmml


def commit_als(made: Stack, number: int) -> Generation:
    """Store generation `number`, whose estimates are those of the fixture times its square."""
    store = ModelStore.of(made.settings.batch.storage)
    folder = store.new(number)
    (folder / "model.pmml").write_text(pmml())
    known = pa.array(KNOWN, pa.list_(pa.int32()))
    write_factors(folder / USER_FACTORS, USERS, np.array(X, np.float32) * number, known)
    write_factors(folder / ITEM_FACTORS, ITEMS, np.array(Y, np.float32) * number)
    return store.commit(folder, Manifest(number, "als", "model.pmml", {}, "", {}))


def run_publisher(made: Stack, generation: int, env: Mapping[str, str] | None = None) -> int:
    """Publish a generation from a process in a group of its own; returns its exit code."""
    command = [sys.executable, "-m", "tests.faults.als_publisher", str(generation)]
    command += [f"{key}={value}" for key, value in made.flags.items()]
    done = subprocess.run(
        command, env={**os.environ, **(env or {})}, start_new_session=True, check=False, timeout=120
    )
    return done.returncode


def main(number: str, *flags: str) -> None:
    """Publish a generation, its factors after the model."""
    settings = load(flags=dict(flag.split("=", 1) for flag in flags), environment={})
    generation = ModelStore.of(settings.batch.storage).get(int(number))
    with open_broker(settings, settings.update_broker) as broker:
        producer = broker.producer()
        topic = settings.update_topic
        publisher = Publisher(broker, producer, topic.name, topic.max_size, 30)
        publisher.publish(generation, Batch(settings).updates(generation))
        producer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
