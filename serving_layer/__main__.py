"""Runs the serving layer: ``python -m serving_layer --conf FILE``.

Exit codes: 0 stopped by SIGTERM or SIGINT; 1 the server cannot start or has failed; 2 the
command line or the configuration is wrong; 69 a topic is missing.  While the broker does not
answer, the process keeps trying, and ``/ready`` replies 503 with the reason.
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
    """Run the serving layer; return the process's exit code."""
    process.keep_files_private()
    keep_memory_small()
    log_to_stderr()
    options = process.parser("serving", "The serving layer.").parse_args(arguments)
    return process.exit_code(lambda: serve(process.settings_of(options)), CODES)


def serve(settings: Settings) -> int:
    """Serve until a signal stops the process; return its exit code.

    Raises
    ------
    ConfigError, UnusableTopicError, ServeError, EndedError
        If the layer cannot start or go on; the text says how to repair it.
    """
    api = settings.serving.api
    certificate = Certificate.of(api)
    port = api.port if certificate is None else api.secure_port
    open_socket = bind if api.workers == 1 else reserve
    with open_socket(api.host, port, authenticated=api.auth.file is not None) as bound:
        if api.auth.file is None:
            log.info("nobody has to log in, so only this machine can reach the service")
        if api.workers > 1:
            return _serve_by_workers(settings, bound, certificate)
        # Created first: an error in the configuration is reported before waiting for a broker.
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
        # Temporary files of killed workers are removed together with the folder.
        tempfile.tempdir = folder
        service, statuses = Service.of(settings), WorkerStatus(settings.serving.api.workers)
        service.app.extensions[KEY] = statuses
        code = run_apart(lambda: process.exit_code(lambda: _check_topics(settings), CODES))
        if code:
            return code

        def work(number: int) -> int:
            def run() -> int:
                Worker(service, statuses, number).run(reserved, certificate)
                return 0

            return process.exit_code(run, CODES)

        def on_end(number: int) -> None:
            statuses.note(number, State.AWAY)
            service.metrics.restarted(number)

        return Supervisor(settings.serving.api.workers, work, on_end).run()


if __name__ == "__main__":
    sys.exit(main())
