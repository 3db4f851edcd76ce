"""Resolves model messages to verified models, and orders the updates of a generation.

MODEL and MODEL-REF become a model whose bytes are verified.  The ``UP`` messages of a
micro-batch are held back until the ``PROGRESS`` that closes it, and each (generation,
sequence) is applied once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from common.base.hashing import sha256_hex
from common.broker import Broker
from common.store.generations import Generation, ModelStore, StoreError
from common.wire.messages import MODEL_REF, UP, Message, MessageError, Progress


@dataclass(frozen=True)
class ModelMessage:
    """A model to load, from the topic or from the store.

    Attributes
    ----------
    generation : int or None
        Its id; None for a model that is not from Gemsbok.
    text : str
        The model: PMML, or the family's own format.
    files : Generation or None
        Its files, verified when they are opened; None if the model came by the topic only.
    updates : int
        The last sequence that the batch layer sends after the model.
    """

    generation: int | None
    text: str
    files: Generation | None = None
    updates: int = 0

    @property
    def cut(self) -> dict[int, int]:
        """The generation's cut; empty if its manifest is not available."""
        return dict(self.files.manifest.cut) if self.files else {}


def resolve(message: Message, store: ModelStore) -> ModelMessage:
    """Return the model of a MODEL or MODEL-REF message, verified.

    Raises
    ------
    StoreError
        If a file is gone, damaged, outside the store, or not the one published.
    MessageError
        If the text does not match the message's headers, or lacks a valid signature.
    """
    stamp = message.stamp
    if stamp is None and store.signed:
        error = "a model without a generation, and so without a signature"
        raise MessageError(error, "bad_signature")
    if stamp is None:
        text = store.read_reference(message.value) if message.key == MODEL_REF else message.value
        return ModelMessage(None, text)
    files = _files(message, store)
    text = store.read_reference(message.value) if message.key == MODEL_REF else message.value
    if stamp.sha256 is not None and sha256_hex(text.encode()) != stamp.sha256:
        error = f"the model of generation {stamp.generation} is not what its sha256 header says"
        raise MessageError(error, "checksum")
    signed = files.manifest.files.get(files.manifest.model_file) if files else None
    if store.signed and (signed is None or signed != sha256_hex(text.encode())):
        error = f"the model is not the one that the manifest of {stamp.generation} signs"
        raise MessageError(error, "bad_signature")
    return ModelMessage(stamp.generation, text, files, stamp.updates or 0)


def _files(message: Message, store: ModelStore) -> Generation | None:
    """Open the generation's files; None if the topic carries the complete model."""
    assert message.stamp is not None
    try:
        return store.get(message.stamp.generation, message.stamp.manifest)
    except StoreError as error:
        if message.stamp.updates and message.key != MODEL_REF and not store.signed:
            return None
        text = (
            f"{error}; point batch.storage.model_dir at the batch layer's, "
            'or let it send everything with update_topic.factors = "topic"'
        )
        raise StoreError(text, error.code) from error


def stored(generation: Generation) -> ModelMessage:
    """Return the model of a generation in the store, without the topic."""
    return ModelMessage(generation.id, generation.model_text(), generation)


@dataclass
class SequenceLog:
    """Releases one generation's messages once each, one complete micro-batch at a time.

    Attributes
    ----------
    closed : int
        The last sequence that a PROGRESS has closed.
    progress : Progress
        That PROGRESS.
    orphans, repeats : int
        Number of pending messages dropped because their sender died before closing them, and of
        messages dropped because they were applied before.
    gaps : int
        Number of missing sequences, which the topic's retention has removed.
    """

    closed: int = 0
    progress: Progress = field(default_factory=Progress)
    orphans: int = 0
    repeats: int = 0
    gaps: int = 0
    _pending: list[tuple[int, str]] = field(default_factory=list)

    def accept(self, message: Message) -> list[str]:
        """Add one ``UP`` or ``PROGRESS``; return the payloads that may now be applied.

        Raises
        ------
        MessageError
            If a PROGRESS cannot be read.
        """
        assert message.stamp is not None
        sequence = message.stamp.sequence
        if sequence <= self.closed:
            self.repeats += 1
            return []
        while self._pending and self._pending[-1][0] >= sequence:
            self._pending.pop()
            self.orphans += 1
        last = self._pending[-1][0] if self._pending else self.closed
        self.gaps += sequence - last - 1
        if message.key == UP:
            self._pending.append((sequence, message.value))
            return []
        progress = Progress.from_value(message.value)
        ready = [value for _, value in self._pending]
        self._pending.clear()
        self.closed, self.progress = sequence, progress
        return ready


def start_position(broker: Broker, topic: str, newest: Generation | None) -> dict[int, int]:
    """Return the offsets from which to read the update topic.

    The records of the newest stored generation are not older than its manifest, so a replica
    skips everything before.
    """
    begin = broker.begin_offsets(topic)
    if newest is None:
        return begin
    at = broker.offsets_at(topic, newest.manifest.created)
    return {partition: max(at[partition], begin[partition]) for partition in begin}
