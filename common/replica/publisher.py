"""Publishes a generation on the update topic: its model or the model's path, then its updates."""

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

#: Number of ``UP`` records between two ``PROGRESS`` records; readers buffer that many.
UPDATES_PER_PROGRESS = 10_000


@dataclass(frozen=True)
class Publisher:
    """Sends generations to the update topic.

    Attributes
    ----------
    broker : Broker
        Of the update topic.
    producer : Producer
        Producer of the update topic's broker.
    topic : str
        The update topic.
    max_size : int
        Bytes; a larger model is sent by reference (Oryx's rule).
    timeout : float
        Seconds until an unacknowledged record counts as failed.
    updates_per_progress : int
        So many ``UP`` records a ``PROGRESS`` closes.
    """

    broker: Broker
    producer: Producer
    topic: str
    max_size: int
    timeout: float
    updates_per_progress: int = UPDATES_PER_PROGRESS

    def publish(self, generation: Generation, updates: Collection[str] = ()) -> int:
        """Send a generation and wait until the broker has acknowledged every record.

        Before the first record is sent, the store is told where on the topic they begin.
        It can be sent again: the records are the same, and readers apply each sequence once.

        Returns
        -------
        int
            Number of records sent.

        Raises
        ------
        StoreError
            If the model's file cannot be read or does not match the manifest.
        BrokerError
            If a record was not acknowledged.
        UnusableTopicError
            If the topic does not exist, or has several partitions.
        """
        last = last_sequence(len(updates), self.updates_per_progress)
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
        # `path` verifies the file, so that a damaged one is not published.
        size = generation.path(manifest.model_file).stat().st_size
        fits = size <= self.max_size
        key, value = (MODEL, generation.model_text()) if fits else (MODEL_REF, generation.reference)
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
            if count % self.updates_per_progress == 0 or count == len(updates):
                sequence += 1
                self._send(PROGRESS, _progress(generation), Stamp(generation.id, sequence))
                self.producer.flush(self.timeout)
        return sequence

    def _send(self, key: str, value: str, stamp: Stamp) -> None:
        self.producer.send(self.topic, key, value, stamp.to_headers())


def last_sequence(n_updates: int, updates_per_progress: int = UPDATES_PER_PROGRESS) -> int:
    """Return the sequence of the last record that follows the model."""
    return n_updates + -(-n_updates // updates_per_progress)


def _progress(generation: Generation) -> str:
    """Return the value of a PROGRESS record for the generation's cut."""
    manifest = generation.manifest
    newest = manifest.data_range[1] if manifest.data_range else None
    return Progress(manifest.cut, newest, topic_id=manifest.topic_id).to_value()
