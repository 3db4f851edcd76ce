"""An older generation becomes the newest: brought back under a new id, and published."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.base.paths import home
from stack.errors import UserError

if TYPE_CHECKING:
    from common.config import Settings
    from common.store.generations import Generation, ModelStore


def roll_back(settings: Settings, store: ModelStore, old: Generation, now: int) -> Generation:
    """Bring `old` back as a new generation with its files and cut, and publish it.

    The speed layer then folds in all events since that cut again, so that the model is again
    the one of that history and everything after it.

    Parameters
    ----------
    settings : Settings
        The configuration.
    store : ModelStore
        Where the generations lie.
    old : Generation
        The one to bring back.
    now : int
        Milliseconds since 1970; the new id, if no generation is later.

    Raises
    ------
    UserError
        If events after its cut are gone, or a generation is being built just now.
    ConfigError, StoreError, BrokerError
        If there is no such family, its files are damaged, or the broker does not take it.
    """
    from common.runtime.families import family_module, has_layer

    if not has_layer(settings.app, "batch"):
        new = restore(store, old, now)
        publish(settings, store, new)
        return new
    with _no_build(settings, store):
        _require_events(settings, old)
        family = family_module(settings.app, "batch_layer", ("Batch",)).Batch(settings)
        new = restore(store, old, now)
        publish(settings, store, new, family.updates(new))
    return new


def publish(
    settings: Settings, store: ModelStore, new: Generation, updates: Collection[str] = ()
) -> None:
    """Send a generation to the update topic, and remember that.

    Raises
    ------
    BrokerError
        If the broker does not take it.
    """
    from common.broker import open_broker
    from common.replica.publisher import Publisher

    with open_broker(settings, settings.update_broker) as broker:
        limit = settings.broker.delivery_timeout_seconds
        topic = settings.update_topic
        publisher = Publisher(broker, broker.producer(), topic.name, topic.max_size, limit)
        publisher.publish(new, updates)
    store.mark_published(new.id)


def restore(store: ModelStore, old: Generation, now: int) -> Generation:
    """Store a copy of a generation under a new id, above all others; its parent is `old`.

    Raises
    ------
    StoreError
        If a file is gone or damaged.
    """
    new_id = max(now, max(store.ids()) + 1)
    folder = store.new(new_id)
    try:
        for name in old.manifest.files:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(old.path(name), target)
    except BaseException:
        shutil.rmtree(folder)
        raise
    manifest = replace(old.manifest, generation=new_id, parent=old.id, created=now)
    return store.commit(folder, manifest)


@contextmanager
def _no_build(settings: Settings, store: ModelStore) -> Iterator[None]:
    """Keep batch runs out: a generation of theirs would come out beside this one.

    One that is there already, and waits for its next turn, does not matter.
    """
    from batch_layer.run.lock import AlreadyRunningError, only_one

    with ExitStack() as held:
        try:
            held.enter_context(only_one(home(), settings.app, settings.batch.storage.data_dir))
        except AlreadyRunningError:
            _require_nothing_partial(store)
        yield


def _require_nothing_partial(store: ModelStore) -> None:
    from common.store.generations import PARTIAL

    partial = Path(store.locate(PARTIAL))
    if partial.is_dir() and any(partial.iterdir()):
        message = "The batch layer builds a generation just now."
        raise UserError(message, "Wait until it is done, or stop it; then call again.") from None


def _require_events(settings: Settings, old: Generation) -> None:
    """Refuse where the speed layer could not fold in everything after the cut."""
    from common.broker import open_broker

    name = settings.input_topic.name
    with open_broker(settings) as broker:
        topic = broker.topic(name)
        if topic is None or topic.topic_id != old.manifest.topic_id:
            message = f"Generation {old.id} is of another topic {name!r} than the present one."
            raise UserError(message, "Only generations of the present topic can be brought back.")
        begin = broker.begin_offsets(name)
    gone = {
        partition: f"{at} to {begin[partition] - 1}"
        for partition, at in sorted(old.manifest.cut.items())
        if begin.get(partition, 0) > at
    }
    if gone:
        ranges = "; ".join(f"partition {partition}: {what}" for partition, what in gone.items())
        message = (
            f"Events after the cut of generation {old.id} are gone from the topic {name!r}: "
            f"{ranges}."
        )
        raise UserError(message, "Take a newer generation (`bin/gemsbok model list`).")
