"""Clients that send events over HTTP and keep a ledger of what they were told."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType

import httpx

from tests.faults.ledger import ACKNOWLEDGED, FAILED, UNKNOWN, Ledger


class Sender:
    """Sends events with ids of the ledger; each request has a connection of its own.

    Parameters
    ----------
    url : str
        Of the serving layer.
    ledger : Ledger
        What was sent and told.
    path : str
        The route that takes lines; the first word of each line is the event's id.
    timeout : float
        Seconds to wait for a reply.
    """

    def __init__(self, url: str, ledger: Ledger, path: str = "/add", timeout: float = 60.0) -> None:
        self._ledger = ledger
        self._path = path
        # A connection that the server closes while it is idle says nothing of a request.
        self._http = httpx.Client(
            base_url=url, timeout=timeout, limits=httpx.Limits(max_keepalive_connections=0)
        )

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def send(self, count: int = 3) -> tuple[str, str]:
        """Send events in one request; returns the outcome and why it is that."""
        ids = self._ledger.send(count)
        outcome, why = self._post("\n".join(f"{id_} event" for id_ in ids))
        self._ledger.note(outcome, ids, why)
        return outcome, why

    def _post(self, body: str) -> tuple[str, str]:
        headers = {"Content-Type": "text/csv", "Accept": "application/json"}
        try:
            reply = self._http.post(self._path, content=body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return FAILED, "refused"
        except httpx.TransportError as error:
            return UNKNOWN, type(error).__name__
        if reply.is_success:
            return ACKNOWLEDGED, str(reply.status_code)
        code = str(reply.json()["error"]["code"])
        return UNKNOWN if code == "outcome_unknown" else FAILED, f"{reply.status_code} {code}"


class Load:
    """Several senders at once until the block ends.

    Parameters
    ----------
    url, ledger
        As for :class:`Sender`.
    senders : int
        How many threads.
    pause_seconds : float
        Of each between two requests.

    Attributes
    ----------
    counts : Counter
        How many requests had which outcome and reason: ``("acknowledged", "204")``, ….
    """

    def __init__(
        self, url: str, ledger: Ledger, senders: int = 4, pause_seconds: float = 0.01
    ) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._url = url
        self._ledger = ledger
        self._pause = pause_seconds
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, name=f"sender-{number}") for number in range(senders)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def count(self, outcome: str) -> int:
        """How many requests have had this outcome so far."""
        with self._lock:
            return sum(n for (found, _), n in self.counts.items() if found == outcome)

    def _run(self) -> None:
        with Sender(self._url, self._ledger) as sender:
            while not self._stop.is_set():
                outcome = sender.send()
                with self._lock:
                    self.counts[outcome] += 1
                self._stop.wait(self._pause)
