"""Verb ``topics``: make the topics, follow them, write lines into the input topic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.lines import read_chunks
from cli.options import Conf, Sets
from cli.output import print_json
from stack.configuration import settings_of
from stack.errors import UserError
from stack.topics import WantedTopic, broker_errors, create_topics, wanted_topics

if TYPE_CHECKING:
    from common.api import InputLines
    from common.broker import Reader, Record
    from common.config import Settings

app = typer.Typer(help="Make topics, follow them, send lines.", no_args_is_help=True)

POLL_SECONDS = 0.2

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
File = Annotated[str, typer.Argument(metavar="FILE|-", help="Lines; - for standard input.")]
Input = Annotated[bool, typer.Option("--input", help="Follow the input topic.")]
Update = Annotated[bool, typer.Option("--update", help="Follow the update topic.")]
DeadLetter = Annotated[bool, typer.Option("--dead-letter", help="Follow the dead-letter topics.")]
All = Annotated[bool, typer.Option("--all", help="Follow them all, as without any of these.")]
FromBeginning = Annotated[bool, typer.Option("--from-beginning", help="From the oldest record on.")]
Limit = Annotated[int, typer.Option(min=0, help="End after so many records; 0 follows on.")]


@app.command()
def setup(conf: Conf = None, sets: Sets = None, as_json: Json = False) -> None:
    """Create the input and update topics, and their dead-letter topics, that are not there."""
    found = create_topics(settings_of(conf, sets))
    if as_json:
        print_json([asdict(topic) for topic in found])
        return
    for topic in found:
        print(topic)


@app.command()
def tail(
    conf: Conf = None,
    sets: Sets = None,
    input_: Input = False,
    update: Update = False,
    dead_letter: DeadLetter = False,
    all_: All = False,
    from_beginning: FromBeginning = False,
    limit: Limit = 0,
    as_json: Json = False,
) -> None:
    """Follow topics: one line for each record, until Ctrl-C."""
    from cli.records import show_record

    settings = settings_of(conf, sets)
    chosen = {"input": input_, "update": update, "dead-letter": dead_letter}
    every = all_ or not any(chosen.values())
    topics = [topic for topic in wanted_topics(settings) if every or chosen[topic.role]]
    with broker_errors(), ExitStack() as opened:
        readers = _open_readers(settings, topics, from_beginning, opened)
        for shown, (topic, record) in enumerate(_follow(readers), 1):
            show_record(topic, record, as_json)
            if shown == limit:
                return


@app.command()
def send(file: File, conf: Conf = None, sets: Sets = None, as_json: Json = False) -> None:
    """Write a file's lines to the input topic, unchecked; blank ones are left out."""
    import pyarrow as pa

    from common.broker import open_broker

    settings = settings_of(conf, sets)
    topic = settings.input_topic.name
    family = _input_lines(settings)
    sent = 0
    with broker_errors(), open_broker(settings) as broker, ExitStack() as opened:
        producer = broker.producer()
        opened.callback(producer.close)
        for chunk in read_chunks(file):
            lines = [line for line in chunk.lines if line.strip()]
            # The batch layer sets aside what cannot be read; until then any partition will do.
            columns = family.read(pa.array(lines, pa.string())).columns
            records = zip(family.keys(lines, columns), lines, strict=True)
            sent += producer.send_all(topic, records)
    if as_json:
        print_json({"topic": topic, "sent": sent})
    else:
        print(f"{sent} lines sent to {topic}.")


def _input_lines(settings: Settings) -> InputLines:
    """Return the family's rules; raises UserError where it, or the settings, cannot be used."""
    from common.config import ConfigError
    from common.runtime.families import input_lines

    try:
        return input_lines(settings)
    except ConfigError as error:
        raise UserError(str(error)) from None


def _open_readers(
    settings: Settings, topics: Sequence[WantedTopic], from_beginning: bool, opened: ExitStack
) -> list[tuple[str, Reader]]:
    from common.broker import open_broker

    readers = []
    for topic in topics:
        broker = opened.enter_context(open_broker(settings, topic.broker))
        reader = broker.reader(topic.name, "earliest" if from_beginning else "latest")
        opened.callback(reader.close)
        readers.append((topic.name, reader))
    return readers


def _follow(readers: Sequence[tuple[str, Reader]]) -> Iterator[tuple[str, Record]]:
    while True:
        for topic, reader in readers:
            for record in reader.poll(POLL_SECONDS / len(readers)):
                yield topic, record
