"""``python -m serving_layer --conf FILE``: runs the serving layer until it is told to stop.

Exit codes: 0 stopped by SIGTERM or SIGINT; 1 the server cannot start or has failed; 2 the
command line or the configuration is wrong; 69 a topic is missing.  A broker that does not
answer is waited for: until it does, ``/ready`` says 503 and why.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Sequence

from common import process
from common.broker import Broker, open_broker
from common.config import ConfigError, Settings
from common.model_store import ModelStore
from serving_layer.app import create_app
from serving_layer.consumer import Consumer, Sources
from serving_layer.producer import LazyProducer
from serving_layer.server import HttpServer, ServeError, bind, limits
from serving_layer.tls import Certificate

log = logging.getLogger("serving_layer")


CODES = {
    ConfigError: process.EXIT_USAGE,
    process.MissingTopicError: process.EXIT_UNAVAILABLE,
    ServeError: process.EXIT_FAILED,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the serving layer; returns the process's exit code."""
    process.keep_files_private()
    process.log_to_stderr()
    given = process.parser("serving", "The serving layer.").parse_args(arguments)
    return process.exit_code(lambda: serve(process.settings_of(given)), CODES)


def serve(settings: Settings) -> int:
    """Serve until told to stop; returns the process's exit code.

    Raises
    ------
    ConfigError, MissingTopicError, ServeError
        If it cannot start; the text says what to do.
    """
    api = settings.serving.api
    certificate = Certificate.of(api)
    port = api.port if certificate is None else api.secure_port
    with bind(api.host, port, authenticated=api.auth.file is not None) as bound:
        if api.auth.file is None:
            log.info("nobody has to log in, so only this machine can reach the service")
        process.check_topics(settings, with_input=not api.read_only)
        producer = None if api.read_only else LazyProducer(_connect(settings, None))
        consumer = Consumer(settings, _sources(settings))
        app = create_app(settings, consumer, producer)
        server = HttpServer(app, bound, limits(settings), certificate=certificate)
        consumer.start()
        try:
            server.run()
        finally:
            consumer.close()
            if producer is not None:
                producer.close()
    return 0


def _sources(settings: Settings) -> Sources:
    family = process.family_module(settings.app, "serving_layer", ("Serving", "blueprint"))
    return Sources(
        connect=_connect(settings, settings.update_broker),
        store=ModelStore.of(settings.batch.storage),
        new_model=functools.partial(family.Serving, settings),
    )


def _connect(settings: Settings, address: str | None) -> functools.partial[Broker]:
    return functools.partial(open_broker, settings, address)


if __name__ == "__main__":
    sys.exit(main())
