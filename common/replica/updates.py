"""Resolves MODEL and MODEL-REF messages to models whose bytes are verified."""

from __future__ import annotations

from dataclasses import dataclass

from common.base.hashing import sha256_hex
from common.store.generations import Generation, ModelStore, StoreError
from common.wire.messages import MODEL_REF, Message, MessageError


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

    @property
    def topic_id(self) -> str | None:
        """Identity of the input topic that the cut refers to; None where it is not known."""
        return self.files.manifest.topic_id if self.files else None


def resolve(message: Message, store: ModelStore) -> ModelMessage:
    """Return the model of a MODEL or MODEL-REF message, verified.

    Raises
    ------
    StoreError
        If a file is gone, damaged, outside the store, or not the one published.
    MessageError
        If the text does not match the message's headers, or lacks a valid signature.
    OSError
        If the store does not answer.
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
        found = store.get(message.stamp.generation, message.stamp.manifest)
    except StoreError as error:
        if message.stamp.updates and message.key != MODEL_REF and not store.signed:
            return None
        text = (
            f"{error}; point batch.storage.model_dir at the batch layer's, "
            'or let it send everything with update_topic.factors = "topic"'
        )
        raise StoreError(text, error.code) from error
    found.check()
    return found


def stored(generation: Generation) -> ModelMessage:
    """Return the model of a generation in the store, without the topic.

    Raises
    ------
    StoreError
        If one of its files is gone or damaged.
    OSError
        If the store does not answer.
    """
    generation.check()
    position = generation.position
    updates = position.records - 1 if position else 0
    return ModelMessage(generation.id, generation.model_text(), generation, updates)
