"""Sizes and delays that both Kafka clients share.

Nothing is compressed: over loopback lz4 writes no faster than none and gzip at 40 % of its rate.
"""

from __future__ import annotations

#: A model of 64 MiB in one record, and what the protocol adds to it.
MAX_MESSAGE_BYTES = 68 * 1024 * 1024
#: What one answer to a fetch may hold; one record more than this is still delivered.
FETCH_BYTES = 32 * 1024 * 1024
#: A single answer with a record of the greatest size must fit in.
RECEIVE_BYTES = 2 * MAX_MESSAGE_BYTES
#: Records wait this long for company before they are sent.
LINGER_MS = 1
#: A producer's queue; sending blocks while it is full.
QUEUE_RECORDS = 100_000
QUEUE_BYTES = 256 * 1024 * 1024
