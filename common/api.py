"""What the layers ask of a family's part in ``common``."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class Read(NamedTuple):
    """Input lines as a family has read them: each line is validated and parsed by one reading.

    Attributes
    ----------
    columns : RecordBatch
        What the lines say, in columns of the family's own, one row for each line.  The row of a
        refused line means nothing.
    reasons : StringArray
        Why each line is refused, null where it is good.  ``code: message`` gives clients the
        code; any other text is a message alone.
    """

    columns: pa.RecordBatch
    reasons: pa.StringArray


class InputLines(Protocol):
    """A family's rules for input lines; its module in ``common.apps`` names the class ``Lines``.

    A family's class derives from this one, and so has the default of `keys`.  It is made with
    the :class:`common.config.Settings`.  An instance is sent to Spark's workers, so it holds
    nothing that cannot be pickled.
    """

    def __init__(self, settings: object) -> None: ...

    @abstractmethod
    def read(self, lines: pa.StringArray) -> Read:
        """Read lines; what cannot be read has a reason, and nothing is raised."""

    def keys(self, lines: Sequence[str], columns: pa.RecordBatch) -> Sequence[str]:
        """Return the Kafka keys of lines.

        Events of one key keep their order, and keys spread over the partitions.  By default
        events are independent of one another: the key is the line's CRC-32.

        Parameters
        ----------
        lines : sequence of str
            The lines that are sent.
        columns : RecordBatch
            What :meth:`read` has made of them; a line that it refused needs any key.
        """
        return [f"{zlib.crc32(line.encode()):08x}" for line in lines]
