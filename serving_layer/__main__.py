"""``python -m serving_layer --conf FILE``: runs the serving layer until it is told to stop.

Exit codes: 0 stopped by SIGTERM or SIGINT; 1 the server cannot start or has failed; 2 the
command line or the configuration is wrong; 69 a topic is missing.  A broker that does not
answer is waited for: until it does, ``/ready`` says 503 and why.
"""

from __future__ import annotations

import argparse
import functools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from common.broker import Broker, BrokerError, open_broker
from common.config import ConfigError, Settings, load
from common.model_store import ModelStore
from serving_layer import logs
from serving_layer.app import create_app, family_module
from serving_layer.consumer import Consumer, Sources
from serving_layer.producer import LazyProducer
from serving_layer.server import HttpServer, ServeError, bind, limits

log = logging.getLogger("serving_layer")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69


class MissingTopicError(RuntimeError):
    """A topic does not exist; the text names the command that creates it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the serving layer; returns the process's exit code."""
    logs.to_stderr()
    try:
        serve(_settings(arguments))
    except ConfigError as error:
        log.error("%s", error)
        return EXIT_USAGE
    except MissingTopicError as error:
        log.error("%s", error)
        return EXIT_UNAVAILABLE
    except ServeError as error:
        log.error("%s", error)
        return EXIT_FAILED
    return 0


def serve(settings: Settings) -> None:
    """Serve until told to stop.

    Raises
    ------
    ConfigError, MissingTopicError, ServeError
        If it cannot start; the text says what to do.
    """
    api = settings.serving.api
    bound = bind(api.host, api.port)
    check_topics(settings)
    producer = None if api.read_only else LazyProducer(_connect(settings, None))
    consumer = Consumer(settings, _sources(settings))
    server = HttpServer(create_app(settings, consumer, producer), bound, limits(settings))
    consumer.start()
    try:
        server.run()
    finally:
        consumer.close()
        if producer is not None:
            producer.close()


def check_topics(settings: Settings) -> None:
    """Refuse to start without the topics, as far as their brokers can be asked.

    Raises
    ------
    MissingTopicError
        If a broker says that there is no such topic.
    """
    topics = {settings.update_topic.name: settings.update_broker}
    if not settings.serving.api.read_only:
        topics[settings.input_topic.name] = settings.input_topic.broker
    for name, address in topics.items():
        try:
            with open_broker(settings, address) as broker:
                found = broker.topic(name)
        except BrokerError as error:
            log.warning("%s; serving starts all the same and tries again", error)
            continue
        if found is None:
            message = f"there is no topic {name!r} on {address}: bin/gemsbok topics setup makes it"
            raise MissingTopicError(message)


def _sources(settings: Settings) -> Sources:
    family = family_module(settings.app, "serving_layer", ("Serving", "blueprint"))
    return Sources(
        connect=_connect(settings, settings.update_broker),
        store=ModelStore(settings.batch.storage.model_dir),
        new_model=functools.partial(family.Serving, settings),
    )


def _connect(settings: Settings, address: str | None) -> functools.partial[Broker]:
    return functools.partial(open_broker, settings, address)


def _settings(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="serving_layer", description="The serving layer.")
    parser.add_argument("--conf", type=Path, help="configuration file (TOML)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, over file and environment; may be repeated",
    )
    given = parser.parse_args(arguments)
    flags = {}
    for pair in given.set:
        key, equals, value = pair.partition("=")
        if not equals:
            parser.error(f"--set {pair}: write KEY=VALUE")
        flags[key] = value
    return load(given.conf, flags)


if __name__ == "__main__":
    sys.exit(main())
