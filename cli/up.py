"""Verb ``up``: the broker, the topics and the three layers, in the background."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Conf, Sets
from cli.status import show
from common.base.paths import home
from stack import ports
from stack.configuration import settings_of
from stack.errors import EXIT_UNAVAILABLE, UserError
from stack.launch import Launch, by_python, layer_arguments
from stack.layers import LAYERS, LISTENING, STARTED, ready_code, started_broker_mark
from stack.local_kafka import LocalKafka, PortTakenError
from stack.processes import POLL_SECONDS, Background
from stack.serving_http import serving_port, serving_url

if TYPE_CHECKING:
    from common.config import Settings

STOP_SECONDS = 30.0

Launcher = Callable[[str, Sequence[str]], Launch]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON array.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds until all must be ready.")]


@dataclass(frozen=True)
class Starting:
    """A layer that was started and is not ready yet, as far as is known."""

    process: Background
    is_ready: Callable[[], bool]


def up(conf: Conf = None, sets: Sets = None, timeout: Timeout = 120, as_json: Json = False) -> None:
    """Start what does not run yet, wait until all is ready, and show where it is."""
    settings = settings_of(conf, sets)
    start_broker(settings, home())
    make_topics(settings)
    start_layers(settings, layer_arguments(conf, sets), timeout)
    show(home(), as_json)


def start_broker(settings: Settings, state: Path, kind: type[LocalKafka] = LocalKafka) -> None:
    """Start the embedded broker if the configuration means it and nothing answers there.

    A broker that the configuration does not name must be the embedded one, told by its cluster
    id: nothing is sent to another one that happens to have the usual port.

    Parameters
    ----------
    settings : Settings
        Say where the broker is.
    state : Path
        State folder.
    kind : type
        Of the broker.

    Raises
    ------
    UserError
        If it does not come up, or runs on another port already, or something else has the port.
    """
    address = settings.input_topic.broker
    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost"):
        return
    broker = kind(state, int(port))
    if not ports.is_free(int(port)):
        is_named = "broker" in settings.input_topic.model_fields_set
        if not is_named and not broker.answers_at(int(port)):
            otherwise = f"name that broker: --set input_topic.broker={address}"
            raise PortTakenError(int(port), otherwise)
        return
    if broker.is_running():
        message = f"The broker runs at {broker.address}, the configuration says port {port}."
        raise UserError(message, "Stop it (`bin/gemsbok kafka stop`), or set input_topic.broker.")
    mark = started_broker_mark(state)
    mark.parent.mkdir(parents=True, exist_ok=True)
    # First the mark: a call that is killed meanwhile must not leave a broker that nobody stops.
    mark.touch()
    try:
        broker.start()
    except BaseException:
        mark.unlink()
        raise


def make_topics(settings: Settings) -> None:
    """Create the topics that are not there."""
    from stack.topics import create_topics

    create_topics(settings)


def start_layers(
    settings: Settings,
    arguments: Sequence[str],
    timeout_seconds: float,
    launch: Launcher = by_python,
) -> None:
    """Start the layers that do not run, and wait until they are ready.

    Parameters
    ----------
    settings : Settings
        The configuration.
    arguments : sequence of str
        The arguments by which a layer finds the same configuration.
    timeout_seconds : float
        How long all may take together.
    launch : callable
        Takes a layer's name and arguments, and says how it is started.

    Raises
    ------
    UserError
        If one ends or is not ready in time; those that were started here are stopped again.
    """
    from common.runtime.families import has_layer

    started: list[Starting] = []
    try:
        for name in LAYERS:
            if not has_layer(settings.app, name):
                continue
            process = Background(home(), name)
            if process.find() is None:
                started.append(start(process, settings, arguments, launch))
        _await_ready(started, timeout_seconds)
    except BaseException:
        # Ctrl-C too: what nobody waits for must not stay behind half started.
        for one in reversed(started):
            one.process.stop(STOP_SECONDS)
        raise


def start(
    process: Background, settings: Settings, arguments: Sequence[str], launch: Launcher = by_python
) -> Starting:
    """Start one layer; raises UserError where its port is taken or not known."""
    url = ""
    if process.name == "serving":
        _require_free(serving_port(settings))
        url = serving_url(settings)
    command = launch(process.name, arguments)
    process.start(command.command, command.environment, url)
    if url:
        return Starting(
            process, lambda: process.has_logged(LISTENING) and ready_code(url) is not None
        )
    return Starting(process, lambda: process.has_logged(STARTED))


def _require_free(port: int) -> None:
    if port == 0:
        message = "serving.api.port is 0: in the background the port must be known."
        raise UserError(message, "Set one: --set serving.api.port=8080.")
    if not ports.is_free(port):
        message = f"Port {port} is taken by {ports.owner(port)}."
        remedy = "Stop that process, or take another port: --set serving.api.port=N."
        raise UserError(message, remedy, EXIT_UNAVAILABLE)


def _await_ready(started: Sequence[Starting], timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    for one in started:
        while not one.is_ready():
            if one.process.find() is None:
                raise one.process.failure()
            if time.monotonic() > deadline:
                message = f"The {one.process.name} layer is not ready in {timeout_seconds:.0f} s."
                raise UserError(message, f"See {one.process.log}.", EXIT_UNAVAILABLE)
            time.sleep(POLL_SECONDS)
