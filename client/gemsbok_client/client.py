"""The client of one serving layer: its state, records and events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any

import httpx

from gemsbok_client import bulk
from gemsbok_client.connection import Connection
from gemsbok_client.errors import (
    ApiError,
    ClientError,
    IngestError,
    UnreachableError,
    raise_for_error,
)
from gemsbok_client.recommendations import Recommendations
from gemsbok_client.results import Assignment, Event, Prediction, Readiness
from gemsbok_client.retry import NOTHING_WRITTEN, PASSING, REPEAT

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gemsbok_client.bulk import Records
    from gemsbok_client.options import ClientOptions

#: Largest number of records in a request; more are split into several requests.
MAX_RECORDS = 5000
#: Interval of polling for readiness.
POLL_SECONDS = 0.5


class Client(Recommendations):
    """A connection to one serving layer; close it, or use it in a ``with`` statement.

    It is thread-safe.

    Parameters
    ----------
    url : str
        URL of the server, including its context path.
    **options
        See :class:`ClientOptions`.
    """

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        super().__init__(Connection(url, options))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    # -- the server ---------------------------------------------------------------------

    def readiness(self) -> Readiness:
        """Return whether the server can answer queries, and what is missing if not.

        Raises
        ------
        ClientError
            If the server does not reply with its readiness.
        """
        response = self._server.send("GET", "/readyz", extensions={REPEAT: False})
        if response.status_code != 503:
            raise_for_error(response)
        try:
            return Readiness(**response.json())
        except (TypeError, ValueError):
            raise_for_error(response)
            raise

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until the server can answer queries.

        Parameters
        ----------
        timeout : float
            Seconds.

        Raises
        ------
        ClientError
            If the server is not ready in time; the text says what is missing.
        """
        deadline = time.monotonic() + timeout
        while True:
            missing = self._missing()
            if missing is None:
                return
            if time.monotonic() > deadline:
                message = f"not ready after {timeout:g} s: {missing}"
                raise ClientError(message)
            time.sleep(POLL_SECONDS)

    def _missing(self) -> str | None:
        """Return why the server cannot answer queries; None if it can."""
        try:
            return self.readiness().missing
        except ApiError as error:
            if error.status not in PASSING:
                raise
            return str(error)
        except UnreachableError as error:
            return str(error)

    def version(self) -> str:
        """Return the server's version."""
        return str(self._server.get("/version")["version"])

    def pmml(self) -> bytes:
        """Return the current model as PMML."""
        response = self._server.send("GET", "/model.pmml", headers={"Accept": "application/xml"})
        raise_for_error(response)
        return response.content

    # -- records ------------------------------------------------------------------------

    def assign(self, records: Records) -> Iterator[Assignment]:
        """Yield the nearest cluster of each record, in order.

        Parameters
        ----------
        records : iterable of mapping or sequence, or DataFrame
            Mappings by feature name, in which an absent feature is a missing value, or sequences of
            all fields in order; a DataFrame's columns are the features' names.
        """
        for row in self._each("/v1/assign", records, "assignments"):
            yield Assignment(row["cluster"], row["distance"])

    def predict(self, records: Records) -> Iterator[Prediction]:
        """Yield the predicted target of each record, in order; `records` as in :meth:`assign`."""
        for row in self._each("/v1/predict", records, "predictions"):
            yield Prediction(row["value"], row["probabilities"])

    def score(self, records: Records) -> Iterator[dict[str, Any]]:
        """Yield the outputs by name of an imported PMML model for each record, in order."""
        for row in self._each("/v1/score", records, "scores"):
            yield dict(row)

    def _each(self, path: str, records: Records, name: str) -> Iterator[Mapping[str, Any]]:
        for batch in bulk.batches(bulk.objects(records), MAX_RECORDS):
            body = bulk.body({"records": batch})
            yield from self._server.post(path, body, repeat=True)[name]

    # -- events -------------------------------------------------------------------------

    def ingest(
        self,
        events: Iterable[Event] | Records,
        batch_size: int = 2000,
        progress: bool = False,
    ) -> int:
        """Send events and return their number when all of them are written.

        Parameters
        ----------
        events : iterable of Event, mapping or sequence, or DataFrame
            For ALS :class:`Event`, or mappings of its fields; for other families records as in
            :meth:`assign`.  A DataFrame's columns are the names; missing cells are left out.
        batch_size : int
            Number of events in a request; all of them are written, or none.
        progress : bool
            Whether to show a progress bar (needs tqdm).

        Raises
        ------
        IngestError
            If not all events are written; it has the number of written ones.
        """
        total = len(events) if isinstance(events, Sized) else None
        written = 0
        with bulk.progress_bar(progress, total) as bar:
            for batch in bulk.batches(bulk.objects(events), batch_size):
                try:
                    self._server.post("/v1/events", bulk.body({"events": batch}))
                except ClientError as error:
                    raise IngestError(error, written, _outcome_unknown(error)) from error
                written += len(batch)
                bar.update(len(batch))
        return written


def _outcome_unknown(error: ClientError) -> bool:
    """Return whether events of a failed request may have been written."""
    if isinstance(error, ApiError):
        return error.status >= 500 and error.code not in NOTHING_WRITTEN
    unsent = (httpx.ConnectError, httpx.ConnectTimeout)
    return isinstance(error, UnreachableError) and not isinstance(error.__cause__, unsent)
