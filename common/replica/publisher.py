"""Generation → update topic: the model, or where it lies, and what the family sends after it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from common.base.failpoint import failpoint
from common.broker import Broker, Producer
from common.replica.positions import position_at
from common.store.generations import Generation
from common.wire.messages import MODEL, MODEL_REF, PROGRESS, UP, Progress, Stamp

log = logging.getLogger(__name__)

#: So many ``UP`` records a ``PROGRESS`` closes; readers hold no more than that back.
UPDATES_PER_PROGRESS = 10_000


@dataclass(frozen=True)
class Publisher:
    """Sends generations.

    Attributes
    ----------
    broker : Broker
        Of the update topic.
    producer : Producer
        To that broker.
    topic : str
        The update topic.
    max_size : int
        Bytes; a larger model goes by reference (Oryx's rule).
    timeout : float
        Seconds until an unacknowledged record counts as failed.
    """

    broker: Broker
    producer: Producer
    topic: str
    max_size: int
    timeout: float

    def publish(self, generation: Generation, updates: Collection[str] = ()) -> int:
        """Send a generation and wait until the broker has acknowledged all of it.

        Before the first record it is written down in the store where on the topic they begin.
        Sent again, it is the same records: readers take each sequence once.

        Returns
        -------
        int
            How many records were sent.

        Raises
        ------
        StoreError
            If the model's file cannot be read, or is not what the manifest says.
        BrokerError
            If a record was not acknowledged.
        UnusableTopicError
            If the topic does not exist, or has several partitions.
        """
        last = last_sequence(len(updates))
        position = position_at(self.broker, self.topic, generation, 1 + last)
        generation.store.note_position(generation.id, position)
        self._send_model(generation, last)
        self.producer.flush(self.timeout)
        failpoint("publish.after_model")
        sent = self._send_updates(generation, updates)
        if sent != last:
            message = f"the family announced {len(updates)} updates and gave another number of them"
            raise RuntimeError(message)
        return 1 + sent

    def _send_model(self, generation: Generation, last: int) -> None:
        manifest = generation.manifest
        # Reading it checks it: what is damaged is not published.
        size = generation.path(manifest.model_file).stat().st_size
        whole = size <= self.max_size
        key, value = (
            (MODEL, generation.model_text()) if whole else (MODEL_REF, generation.reference)
        )
        stamp = Stamp(
            generation.id,
            sequence=0,
            sha256=manifest.files[manifest.model_file],
            manifest=generation.manifest_sha256,
            updates=last,
        )
        self.producer.send(self.topic, key, value, stamp.to_headers())
        log.info("publish: generation %d as %s, %d bytes", generation.id, key, size)

    def _send_updates(self, generation: Generation, updates: Collection[str]) -> int:
        """Send ``UP`` records in groups that a ``PROGRESS`` closes; return the last sequence."""
        sequence = 0
        for count, update in enumerate(updates, 1):
            sequence += 1
            self._send(UP, update, Stamp(generation.id, sequence))
            if count % UPDATES_PER_PROGRESS == 0 or count == len(updates):
                sequence += 1
                self._send(PROGRESS, _progress(generation), Stamp(generation.id, sequence))
                self.producer.flush(self.timeout)
        return sequence

    def _send(self, key: str, value: str, stamp: Stamp) -> None:
        self.producer.send(self.topic, key, value, stamp.to_headers())


def last_sequence(n_updates: int) -> int:
    """Return the sequence of the last record that follows the model."""
    return n_updates + -(-n_updates // UPDATES_PER_PROGRESS)


def _progress(generation: Generation) -> str:
    """Return what the batch layer has folded in: everything up to the cut."""
    manifest = generation.manifest
    newest = manifest.data_range[1] if manifest.data_range else None
    return Progress(manifest.cut, newest, topic_id=manifest.topic_id).to_value()
