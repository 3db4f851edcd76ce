"""``python -m serving_layer --conf FILE``: runs the serving layer until it is told to stop.

Exit codes: 0 stopped by SIGTERM or SIGINT; 1 the server cannot start or has failed; 2 the
command line or the configuration is wrong; 69 a topic is missing.  A broker that does not
answer is waited for: until it does, ``/ready`` says 503 and why.
"""

from __future__ import annotations

import logging
import socket
import sys
import tempfile
from collections.abc import Sequence

from common.broker.topics import UnusableTopicError, check_topics
from common.config import ConfigError, Settings
from common.runtime import process
from common.runtime.memory import keep_memory_small
from common.telemetry.logs import log_to_stderr
from serving_layer.operations.worker_status import KEY, State, WorkerStatus
from serving_layer.request.metrics import share
from serving_layer.run.processes import Supervisor, run_apart
from serving_layer.run.service import EndedError, Service, Worker
from serving_layer.transport.sockets import ServeError, bind, reserve
from serving_layer.transport.tls import Certificate

log = logging.getLogger("serving_layer")


CODES = {
    ConfigError: process.EXIT_USAGE,
    UnusableTopicError: process.EXIT_UNAVAILABLE,
    ServeError: process.EXIT_FAILED,
    EndedError: process.EXIT_FAILED,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the serving layer; returns the process's exit code."""
    process.keep_files_private()
    keep_memory_small()
    log_to_stderr()
    given = process.parser("serving", "The serving layer.").parse_args(arguments)
    return process.exit_code(lambda: serve(process.settings_of(given)), CODES)


def serve(settings: Settings) -> int:
    """Serve until told to stop; returns the process's exit code.

    Raises
    ------
    ConfigError, UnusableTopicError, ServeError, EndedError
        If it cannot start or go on; the text says what to do.
    """
    api = settings.serving.api
    certificate = Certificate.of(api)
    port = api.port if certificate is None else api.secure_port
    take = bind if api.workers == 1 else reserve
    with take(api.host, port, authenticated=api.auth.file is not None) as bound:
        if api.auth.file is None:
            log.info("nobody has to log in, so only this machine can reach the service")
        if api.workers > 1:
            return _serve_by_workers(settings, bound, certificate)
        # What is wrong with the configuration is told before a broker is waited for.
        service = Service.of(settings)
        _check_topics(settings)
        service.run(lambda: bound, certificate)
    return 0


def _check_topics(settings: Settings) -> int:
    check_topics(settings, with_input=not settings.serving.api.read_only)
    return 0


def _serve_by_workers(
    settings: Settings, reserved: socket.socket, certificate: Certificate | None
) -> int:
    with tempfile.TemporaryDirectory(prefix="gemsbok-") as folder:
        share(folder)
        # What a worker leaves behind that is killed goes with the folder.
        tempfile.tempdir = folder
        service, board = Service.of(settings), WorkerStatus(settings.serving.api.workers)
        service.app.extensions[KEY] = board
        code = run_apart(lambda: process.exit_code(lambda: _check_topics(settings), CODES))
        if code:
            return code

        def work(number: int) -> int:
            def run() -> int:
                Worker(service, board, number).run(reserved, certificate)
                return 0

            return process.exit_code(run, CODES)

        def on_end(number: int) -> None:
            board.note(number, State.AWAY)
            service.metrics.restarted(number)

        return Supervisor(settings.serving.api.workers, work, on_end).run()


if __name__ == "__main__":
    sys.exit(main())
