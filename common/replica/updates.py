"""Following the update topic: which model, which updates, each once.

Speed and serving share this code.  It resolves MODEL and MODEL-REF to a model whose bytes are
verified, holds the ``UP`` messages of a micro-batch back until the ``PROGRESS`` that closes
it, and lets each through once per (generation, sequence).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from common.base.hashing import sha256_hex
from common.broker import Broker
from common.store.generations import Generation, ModelStore, StoreError
from common.wire.messages import MODEL_REF, UP, Message, MessageError, Progress


@dataclass(frozen=True)
class ModelMessage:
    """A model to load, wherever it came from.

    Attributes
    ----------
    generation : int or None
        Its id; None for a model that is not from Gemsbok.
    text : str
        The model itself: PMML, or what the family's batch part wrote.
    files : Generation or None
        Its files, verified as they are opened; None where the model came by topic alone.
    updates : int
        The last sequence that the batch layer itself sends after the model.
    """

    generation: int | None
    text: str
    files: Generation | None = None
    updates: int = 0

    @property
    def cut(self) -> dict[int, int]:
        """The generation's cut; empty where its manifest cannot be read."""
        return dict(self.files.manifest.cut) if self.files else {}


def resolve(message: Message, store: ModelStore) -> ModelMessage:
    """Turn a MODEL or MODEL-REF message into a model with verified content.

    Raises
    ------
    StoreError
        If a file is gone, damaged, outside the store, or not what was published.
    MessageError
        If the text of the message is not what its header says.
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
    """Open the generation's files; None where the topic brings all that there is."""
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
    """Return the model of a generation as the store has it, without the topic."""
    return ModelMessage(generation.id, generation.model_text(), generation)


@dataclass
class SequenceLog:
    """The order of one generation's messages: each once, a micro-batch at a time.

    Attributes
    ----------
    closed : int
        The last sequence that a PROGRESS has closed.
    progress : Progress
        What that PROGRESS said.
    orphans, repeats : int
        Pending messages dropped because their sender died before closing them, and messages
        dropped because they had been applied already.
    gaps : int
        Sequences that were missing: the topic's retention has passed over them.
    """

    closed: int = 0
    progress: Progress = field(default_factory=Progress)
    orphans: int = 0
    repeats: int = 0
    gaps: int = 0
    _pending: list[tuple[int, str]] = field(default_factory=list)

    def accept(self, message: Message) -> list[str]:
        """Take one ``UP`` or ``PROGRESS`` and return the payloads that may now be applied.

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
    """Return the offsets at which to begin to read the update topic.

    The records of the newest generation in the store are not older than its manifest, so that
    a replica need not read the topic's whole past.
    """
    begin = broker.begin_offsets(topic)
    if newest is None:
        return begin
    at = broker.offsets_at(topic, newest.manifest.created)
    return {partition: max(at[partition], begin[partition]) for partition in begin}
