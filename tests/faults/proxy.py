"""A TCP proxy before one Kafka broker, on loopback: it delays, withholds, drops, cuts and resets.

It stands in the broker's advertised listener, so that every connection of the layers passes
through it.  It reads Kafka's frames (four bytes of length; a request begins with its API key, and
replies come in the order of requests), so that a fault can hit the reply to a Produce alone.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

from stack.ports import LOOPBACK

#: API keys of Kafka's protocol.
PRODUCE, FETCH, METADATA = 0, 1, 3

T = TypeVar("T")


@dataclass(eq=False)
class _Link:
    """One client's connection and the one to the broker behind it."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    #: API keys of the requests that have no reply yet, oldest first.
    asked: deque[int] = field(default_factory=deque)
    #: Whether a frame was dropped: the peers no longer agree on what was said.
    torn: bool = False

    def reset(self) -> None:
        """Close both sides by RST, as a crash or a firewall does."""
        for writer in (self.client, self.broker):
            endpoint = writer.get_extra_info("socket")
            if endpoint is not None and endpoint.fileno() >= 0:
                linger = struct.pack("ii", 1, 0)
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()


class Proxy:
    """Passes on what it gets, until it is told otherwise.

    Parameters
    ----------
    target : int
        Port of the broker on loopback.
    seed : int
        Of the choice of connections that are reset.
    port : int
        Where to listen on loopback; 0 takes a free one.

    Attributes
    ----------
    counts : Counter
        ``connections``, ``requests``, ``replies``, and the frames or connections that were
        ``delayed``, ``withheld``, ``dropped``, ``cut`` and ``reset``.
    """

    def __init__(self, target: int, seed: int = 0, port: int = 0) -> None:
        self.target = target
        self.port = port
        self.counts: Counter[str] = Counter()
        self._draw = random.Random(seed)
        self._delay = 0.0
        self._reset_share = 0.0
        self._black_hole = False
        self._withheld: frozenset[int] = frozenset()
        self._cut: tuple[int, int] | None = None
        self._links: set[_Link] = set()
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="proxy")

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._loop = self._started.result(30)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    @property
    def address(self) -> str:
        """``host:port`` for the broker's advertised listener."""
        return f"{LOOPBACK}:{self.port}"

    # -- faults -------------------------------------------------------------------------

    def delay(self, seconds: float) -> None:
        """Pass each frame on only after `seconds`, in both directions; 0 ends it."""
        self._delay = seconds

    def reset_at_random(self, share: float) -> None:
        """Reset the connection of this share of all frames; 0 ends it."""
        self._reset_share = share

    def reset_all(self) -> int:
        """Reset all connections now; returns how many."""
        return self._call(self._reset_links, lambda _: True)

    def withhold_replies(self, *api_keys: int) -> None:
        """Keep the replies to these requests back until :meth:`heal`; requests still pass."""
        self._withheld = frozenset(api_keys)

    def drop_everything(self) -> None:
        """Swallow every frame of both directions until :meth:`heal`: a black hole."""
        self._black_hole = True

    def cut_next_reply(self, api_key: int, keep: int = 0) -> None:
        """Reset the connection in the next reply to `api_key`, after `keep` bytes of it."""
        self._cut = (api_key, keep)

    def heal(self) -> None:
        """End every fault; connections that lost a frame are reset."""
        self._delay = self._reset_share = 0.0
        self._black_hole, self._withheld, self._cut = False, frozenset(), None
        self._call(self._reset_links, lambda link: link.torn)
        self._call(self._healed.set)

    # -- the thread ---------------------------------------------------------------------

    def _call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in the proxy's thread and return its result."""
        done: Future[T] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(function(*arguments)))
        return done.result(30)

    def _reset_links(self, chosen: Callable[[_Link], bool]) -> int:
        links = [link for link in self._links if chosen(link)]
        for link in links:
            link.reset()
        self.counts["reset"] += len(links)
        return len(links)

    async def _run(self) -> None:
        self._stop, self._healed = asyncio.Event(), asyncio.Event()
        server = await asyncio.start_server(self._serve, LOOPBACK, self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set_result(asyncio.get_running_loop())
        await self._stop.wait()
        server.close()
        self._reset_links(lambda _: True)
        while self._links:
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        try:
            from_broker, to_broker = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, to_broker)
        self._links.add(link)
        ways = {
            asyncio.ensure_future(self._requests(reader, link)),
            asyncio.ensure_future(self._replies(from_broker, link)),
        }
        try:
            _, waiting = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in waiting:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            for side in (link.client, link.broker):
                side.transport.abort()
            self._links.discard(link)

    async def _requests(self, reader: asyncio.StreamReader, link: _Link) -> None:
        while True:
            frame = await _frame(reader)
            self.counts["requests"] += 1
            link.asked.append(int.from_bytes(frame[4:6], "big"))
            await self._pass_on(frame, link, link.broker)

    async def _replies(self, reader: asyncio.StreamReader, link: _Link) -> None:
        while True:
            frame = await _frame(reader)
            self.counts["replies"] += 1
            api_key = link.asked.popleft()
            while api_key in self._withheld:
                self.counts["withheld"] += 1
                self._healed.clear()
                await self._healed.wait()
            if self._cut is not None and self._cut[0] == api_key:
                keep, self._cut = self._cut[1], None
                self.counts["cut"] += 1
                link.client.write(frame[:keep])
                await link.client.drain()
                link.reset()
                return
            await self._pass_on(frame, link, link.client)

    async def _pass_on(self, frame: bytes, link: _Link, writer: asyncio.StreamWriter) -> None:
        if self._delay:
            self.counts["delayed"] += 1
            await asyncio.sleep(self._delay)
        if self._reset_share and self._draw.random() < self._reset_share:
            self.counts["reset"] += 1
            link.reset()
        elif self._black_hole or link.torn:
            self.counts["dropped"] += 1
            link.torn = True
        else:
            writer.write(frame)
            await writer.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """Read one frame, its length included; raises where the connection ends."""
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int.from_bytes(head, "big"))
