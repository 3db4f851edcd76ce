"""From a request to the input topic: all of its lines, or none."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from flask import Response, after_this_request

from common.broker.api import BrokerError, Producer
from serving_layer.access.admission import admission_policy
from serving_layer.http.errors import RETRY_SECONDS, ApiError
from serving_layer.http.parameters import finish_parameters
from serving_layer.request.bodies import line_number
from serving_layer.request.context import context
from serving_layer.request.metrics import metrics

if TYPE_CHECKING:
    import pyarrow as pa

#: Seconds that a write waits for its turn before it is turned away.
WRITER_SECONDS = 0.2

F = TypeVar("F", bound=Callable[..., object])


def reads(view: F) -> F:
    """Mark a route as one that writes nothing whatever its method; read-only allows it."""
    view.reads = True  # type: ignore[attr-defined]
    return view


def send_events(
    lines: Sequence[str], complete: Callable[[pa.RecordBatch], Sequence[str]] | None = None
) -> Response:
    """Send lines to the input topic and reply 204 once Kafka has acknowledged all of them.

    A request that repeats one of the same ``Idempotency-Key`` sends nothing and is answered
    alike, with the header ``Idempotency-Replayed: true``.

    Parameters
    ----------
    lines : sequence of str
        What the client has sent; the family reads them once.
    complete : callable, optional
        Makes the lines to send of the columns that the family has read, all of them good;
        raises ApiError where one cannot be sent.  By default they are sent as they came.

    Raises
    ------
    ApiError
        403 ``read_only`` (before anything else is looked at), 400 with the first bad line's
        number and nothing sent, 409 for another request's key, 429 ``too_many_events``, 503
        ``outcome_unknown``, ``broker_unavailable`` or ``overloaded``.
    """
    finish_parameters()
    found = context()
    if read_only() or found.producer is None:
        raise ApiError(403, "read_only", "Serving Layer is read-only")
    # Arrow takes 34 MB: a process that takes no events does not load it.
    import pyarrow as pa

    columns, reasons = found.lines.read(pa.array(lines, pa.string()))
    refuse_bad_lines(reasons)
    if complete is not None:
        lines = complete(columns)
    records = list(zip(found.lines.keys(lines, columns), lines, strict=True))
    if found.writes.once(functools.partial(_send, found.producer, records)):
        after_this_request(_tell_repeated)
    return Response(status=204)


def _tell_repeated(response: Response) -> Response:
    response.headers["Idempotency-Replayed"] = "true"
    return response


def _send(producer: Producer, records: Sequence[tuple[str | None, str]]) -> None:
    """Send and wait for the acknowledgement, while not too many others do."""
    admission_policy().charge_events(len(records))
    writers = context().writers
    if not writers.acquire(timeout=WRITER_SECONDS):
        headers = {"Retry-After": str(RETRY_SECONDS)}
        message = "nothing was written: too many requests are waiting for the broker"
        raise ApiError(503, "overloaded", message, headers=headers)
    try:
        producer.send_all(context().settings.input_topic.name, records)
    except BrokerError as error:
        raise _unavailable(error) from error
    finally:
        writers.release()
    metrics().events.inc(len(records))


def read_only() -> bool:
    """Whether this serving layer takes no writes."""
    return context().settings.serving.api.read_only or context().producer is None


def refuse_bad_lines(reasons: pa.Array) -> None:
    """Raise 400 with number and reason of the first line that has a reason."""
    if reasons.null_count == len(reasons):
        return
    at = next(index for index, reason in enumerate(reasons) if reason.is_valid)
    raise bad_line(reasons[at].as_py(), line_number(at))


def bad_line(reason: str, line: int | None = None) -> ApiError:
    """Return the 400 for a line's reason: ``code: message``, or a message alone."""
    code, colon, message = reason.partition(": ")
    if not colon or " " in code:
        code, message = "bad_line", reason
    return ApiError(400, code, message, line=line)


def _unavailable(error: BrokerError) -> ApiError:
    headers = {"Retry-After": str(RETRY_SECONDS)}
    if error.outcome_unknown:
        message = f"not acknowledged; some lines may have been written: {error}"
        return ApiError(503, "outcome_unknown", message, headers=headers)
    return ApiError(503, "broker_unavailable", f"nothing was written: {error}", headers=headers)
