"""The real server on a free port, in a thread; and bytes exchanged with it as they are."""

from __future__ import annotations

import asyncio
import json
import socket
import threading

from flask import Flask

from serving_layer.transport.bridge import Limits
from serving_layer.transport.server import HttpServer, Stopping
from serving_layer.transport.sockets import bind
from serving_layer.transport.tls import Certificate


class Running:
    """The real server on a free port, in a thread."""

    def __init__(self, app: Flask, limits: Limits, certificate: Certificate | None = None) -> None:
        bound = bind("127.0.0.1", 0)
        self.host, self.port = bound.getsockname()
        self.server = HttpServer(app, bound, limits, Stopping(0.0, 30.0), certificate)
        self.loop = asyncio.new_event_loop()
        self.stop = asyncio.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.server.serve(self.stop))
        self.loop.close()

    def close(self) -> None:
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.stop.set)
            self.thread.join(60)
        assert not self.thread.is_alive()

    def exchange(self, data: bytes, half_close: bool = False) -> tuple[int, bytes]:
        """Send bytes as they are; status and body of the reply, which the server ends."""
        with socket.create_connection((self.host, self.port), timeout=30) as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            reply = b""
            while part := connection.recv(65536):
                reply += part
        head, _, body = reply.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body


def error_code(body: bytes) -> str:
    """The code in an error's JSON document."""
    return str(json.loads(body)["error"]["code"])
