"""What every layer's process begins with: its arguments, its log, its family, its topics."""

from __future__ import annotations

import argparse
import ctypes
import importlib
import importlib.util
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, TextIO, cast

from common.broker import BrokerError, open_broker
from common.config import ConfigError, Settings, families, load
from common.config_sources import flag_pairs

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_USAGE = 2
#: Something that the process needs is not there (sysexits' EX_UNAVAILABLE).
EXIT_UNAVAILABLE = 69
#: Another process holds the lock; a later call may succeed (sysexits' EX_TEMPFAIL).
EXIT_LOCKED = 75

#: glibc's numbers for the size from which on a block is a mapping, and for the number of heaps.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
#: More than what a scan takes for a moment, so that requests map nothing.
_LARGE_BLOCK = 2 * 1024 * 1024

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class MissingTopicError(RuntimeError):
    """A topic does not exist; the text names the command that creates it."""


class InputLines(Protocol):
    """A family's rules for input lines; its module in ``common.apps`` names the class ``Lines``.

    An instance is sent to Spark's workers, so it holds nothing that cannot be pickled.
    """

    def check(self, lines: pa.StringArray) -> pa.StringArray:
        """Return for each line why it is refused, null where it is good."""

    def key(self, line: str) -> str:
        """Return the line's Kafka key; raises ValueError where the line cannot be read."""


class OneLine(logging.Formatter):
    """Writes an event on one line; what could start another line or colour it is escaped.

    Ids come from clients: a line break in one would let its sender write log lines.

    Parameters
    ----------
    writer : str
        Who writes it, where several processes write one log.
    """

    def __init__(self, writer: str = "") -> None:
        mark = f"[{writer}] " if writer else ""
        super().__init__(f"%(asctime)s %(levelname)s {mark}%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the event's line; a traceback is on it too, its line breaks escaped."""
        return _CONTROL.sub(_escaped, super().format(record))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def keep_files_private() -> None:
    """Let only the owner read what this process and its children write from now on."""
    os.umask(0o077)


def keep_memory_small() -> None:
    """Have freed memory go back to the system, where the C library can be told so (glibc's).

    A large block becomes a mapping of its own, which ends with it.  Left to itself the library
    raises the size from which on that is so with each that is freed, and keeps the holes: 26 MB
    when a model of a million vectors has been loaded, 34 when it has been asked.  And threads
    share as many heaps as there are cores, instead of eight times as many.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
        option(_M_ARENA_MAX, len(os.sched_getaffinity(0)))


def return_freed_memory() -> None:
    """Give the system back what has been freed, where the C library can (glibc's).

    It would keep what it has used once: tens of megabytes after a large model has been read.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def log_to_stderr(stream: TextIO | None = None) -> None:
    """Send all loggers' events, from INFO on, to standard error."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(OneLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    # It tells each attempt to connect as an error; common.broker says once what matters.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


def parser(layer: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all layers share."""
    made = argparse.ArgumentParser(prog=f"{layer}_layer", description=description)
    made.add_argument("--conf", type=Path, metavar="FILE", help="configuration file (TOML)")
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, over file and environment; may be repeated",
    )
    return made


def exit_code(run: Callable[[], int], codes: Mapping[type[Exception], int]) -> int:
    """Run a layer and return its exit code.

    Parameters
    ----------
    run : callable
        Returns the code of an end that was asked for.
    codes : mapping of exception type to int
        What ends the process with a line in the log and this code, not with a traceback.
    """
    try:
        return run()
    except tuple(codes) as error:
        log.error("%s", error)
        return next(code for kind, code in codes.items() if isinstance(error, kind))


def settings_of(given: argparse.Namespace) -> Settings:
    """Load the configuration that the shared arguments name.

    Raises
    ------
    ConfigError
        If it is wrong, or a ``--set`` is not ``KEY=VALUE``.
    """
    return load(given.conf, flag_pairs(given.set))


def family_module(app: str, package: str, names: tuple[str, ...]) -> ModuleType:
    """Import a family's module: ``<package>.apps.<app>``, or the user's own of that name.

    Raises
    ------
    ConfigError
        If it cannot be imported or lacks one of `names`.
    """
    name = f"{package}.apps.{app}" if app in families() else app
    layer = package.removesuffix("_layer")
    if layer != package and not has_layer(app, layer):
        message = f'app = "{app}" has no {layer} layer: it is for serving alone'
        raise ConfigError(message)
    try:
        found = importlib.import_module(name)
    except ImportError as error:
        message = f"app: module {name!r} cannot be imported: {error}"
        raise ConfigError(message) from error
    absent = [wanted for wanted in names if not hasattr(found, wanted)]
    if absent:
        message = f"app: module {name!r} lacks {', '.join(absent)}; see docs/architecture.md"
        raise ConfigError(message)
    return found


def has_layer(app: str, layer: str) -> bool:
    """Whether a family has a part in ``batch``, ``speed`` or ``serving``.

    A user's family has one in each; one of the platform's may be for serving alone.
    """
    name = f"{layer}_layer.apps.{app}"
    return app not in families() or importlib.util.find_spec(name) is not None


def input_lines(settings: Settings) -> InputLines:
    """Return the family's rules for input lines.

    Raises
    ------
    ConfigError
        If its module cannot be imported or has none, or the settings contradict themselves.
    """
    module = family_module(settings.app, "common", ("Lines",))
    return cast("InputLines", module.Lines(settings))


def check_topics(
    settings: Settings, with_input: bool = True, with_dead_letters: bool = False
) -> None:
    """Refuse to start without the topics, as far as their brokers can be asked.

    Parameters
    ----------
    settings : Settings
        Names the topics and their brokers.
    with_input : bool
        Whether the process needs the input topic.
    with_dead_letters : bool
        Whether it writes the update topic's dead letters.

    Raises
    ------
    MissingTopicError
        If a broker says that there is no such topic.
    """
    topics = {settings.update_broker: [settings.update_topic.name]}
    if with_dead_letters:
        topics[settings.update_broker].append(settings.update_topic.dead_letter)
    if with_input:
        topics.setdefault(settings.input_topic.broker, []).append(settings.input_topic.name)
    for address, names in topics.items():
        try:
            with open_broker(settings, address) as broker:
                absent = [name for name in names if broker.topic(name) is None]
        except BrokerError as error:
            log.warning("%s; started all the same, it is tried again", error)
            continue
        if absent:
            message = (
                f"there is no topic {' nor '.join(absent)} on {address}: "
                "bin/gemsbok topics setup makes them"
            )
            raise MissingTopicError(message)
