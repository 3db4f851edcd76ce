"""One generation in memory with the log of its updates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from common.broker import Record
from common.replica.sequences import SequenceLog, reached
from common.wire.messages import PROGRESS, UP, WRITER, Claim, Message, MessageError

Model = TypeVar("Model")


@dataclass
class Slot(Generic[Model]):
    """One generation in a layer's memory.

    What it accepts depends on the records that it is given alone: it may be fed by the thread
    that follows the topic, or aside by a reader of its own.

    Attributes
    ----------
    generation : int or None
        Its id; None for a model that is not from Gemsbok.
    model : Model
        The family's model, to which every update is applied.
    cut : dict of int to int
        Input offsets up to which the generation was trained.
    log : SequenceLog
        The messages read for this generation so far.
    cut_topic_id : str or None
        Identity of the input topic that `cut` refers to.
    """

    generation: int | None
    model: Model
    cut: dict[int, int] = field(default_factory=dict)
    log: SequenceLog = field(default_factory=SequenceLog)
    cut_topic_id: str | None = None

    @property
    def offsets(self) -> dict[int, int]:
        """For each input partition the next offset that the model does not hold yet."""
        return reached(self.cut, self.cut_topic_id, self.log.progress)[1]

    @property
    def topic_id(self) -> str | None:
        """Identity of the input topic that :attr:`offsets` refer to."""
        return reached(self.cut, self.cut_topic_id, self.log.progress)[0]

    @property
    def incomplete(self) -> str | None:
        """What the model lacks of its generation's updates; None if nothing."""
        if self.log.complete:
            return None
        many = str(self.log.gone) if self.log.gone else "perhaps some"
        return (
            f"incomplete: {many} updates of generation {self.generation} are gone from the update "
            "topic, a refold is needed: the speed layer does it when it runs, or run the batch "
            "layer for a new generation"
        )

    def take(self, message: Message, offset: int) -> list[str]:
        """Take a message; returns the payloads that may now be applied.

        Messages of other generations, and those that are neither updates nor claims, give none.

        Parameters
        ----------
        message : Message
            The message; a claim is one of the slot's own app.
        offset : int
            Of its record.

        Raises
        ------
        MessageError
            If it cannot be used.
        """
        if message.key == WRITER:
            self.log.claim(offset)
            return []
        ours = message.stamp is not None and message.stamp.generation == self.generation
        return self.log.accept(message, offset) if ours and message.key in (UP, PROGRESS) else []

    def read(self, record: Record, app: str) -> list[str]:
        """Take a record that is read aside, as :meth:`take`.

        A bad one gives nothing: the thread that follows the topic meets it too, and sets it
        aside.

        Parameters
        ----------
        record : Record
            Any record of the update topic.
        app : str
            The slot's family.
        """
        try:
            message = Message.from_record(record.key, record.value, record.headers)
            if message.key == WRITER and not claims(message, app):
                return []
            return self.take(message, record.offset)
        except MessageError:
            return []


def claims(message: Message, app: str) -> bool:
    """Whether a WRITER message is a claim for a family; raises MessageError if it is none."""
    return message.stamp is not None and Claim.from_value(message.value).app == app
