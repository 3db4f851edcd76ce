"""The client of one serving layer: its state, records, and events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from types import TracebackType
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

#: Records of one request; more are sent in several.
MAX_RECORDS = 5000
#: Seconds between two questions whether the server is ready.
POLL_SECONDS = 0.5


class Client(Recommendations):
    """A connection to one serving layer; close it, or use it in a ``with`` statement.

    It may be used by several threads at once.

    Parameters
    ----------
    url : str
        Where the server is, with the context path if it has one.
    **options
        See :class:`ClientOptions`.
    """

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        super().__init__(Connection(url, options))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    # -- the server ---------------------------------------------------------------------

    def readiness(self) -> Readiness:
        """Ask whether the server can answer queries, and what is missing if not.

        Raises
        ------
        ClientError
            If it does not say.
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
        """Wait until queries can be answered.

        Parameters
        ----------
        timeout : float
            Seconds.

        Raises
        ------
        ClientError
            If they cannot in time; it says what is missing.
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
        """Say why queries cannot be answered now; None if they can."""
        try:
            return self.readiness().missing
        except ApiError as error:
            if error.status not in PASSING:
                raise
            return str(error)
        except UnreachableError as error:
            return str(error)

    def version(self) -> str:
        """Ask for the server's version."""
        return str(self._server.get("/version")["version"])

    def pmml(self) -> bytes:
        """Return the model as it is now, as PMML."""
        response = self._server.send("GET", "/model.pmml", headers={"Accept": "application/xml"})
        raise_for_error(response)
        return response.content

    # -- records ------------------------------------------------------------------------

    def assign(self, records: Records) -> Iterator[Assignment]:
        """Assign each record to the nearest cluster; yields the results in order.

        Parameters
        ----------
        records : iterable of mapping or sequence, or DataFrame
            Objects by feature name, in which what is left out is missing, or all fields in
            order; a frame's columns are the features' names.
        """
        for row in self._each("/v1/assign", records, "assignments"):
            yield Assignment(row["cluster"], row["distance"])

    def predict(self, records: Records) -> Iterator[Prediction]:
        """Predict the target of each record; takes and yields as :meth:`assign` does."""
        for row in self._each("/v1/predict", records, "predictions"):
            yield Prediction(row["value"], row["probabilities"])

    def score(self, records: Records) -> Iterator[dict[str, Any]]:
        """Score records by a document of another tool: yields its outputs by name, in order."""
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
        """Send events; returns their number once all of them are written.

        Parameters
        ----------
        events : iterable of Event, mapping or sequence, or DataFrame
            For ALS :class:`Event`, or its fields by name; for other families records as
            :meth:`assign` takes them.  A frame's columns are the names; a missing cell is left
            out.
        batch_size : int
            Events of one request: all of them are written, or none.
        progress : bool
            Whether to show a bar (needs tqdm).

        Raises
        ------
        IngestError
            If not all are written; it says how many are.
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
    """Tell whether events of the request that failed may be written all the same."""
    if isinstance(error, ApiError):
        return error.status >= 500 and error.code not in NOTHING_WRITTEN
    unsent = (httpx.ConnectError, httpx.ConnectTimeout)
    return isinstance(error, UnreachableError) and not isinstance(error.__cause__, unsent)
