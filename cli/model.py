"""Verb ``model``: the generations in the model store, and the model as it is served."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.model_candidates import show_candidates
from cli.model_export import compressed, served, write
from cli.model_import import import_model
from cli.options import Conf, Sets
from cli.output import print_json, print_table
from stack.configuration import settings_of
from stack.errors import EXIT_UNAVAILABLE, UserError
from stack.serving_http import serving_url

if TYPE_CHECKING:
    from common.config import Settings
    from common.store.generations import Generation, ModelStore

app = typer.Typer(help="List, show, export and roll back models.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Id = Annotated[int, typer.Argument(metavar="ID", help="As `model list` prints it.")]
Shown = Annotated[int | None, typer.Argument(metavar="[ID]", help="The newest without one.")]
Candidates = Annotated[bool, typer.Option("--candidates", help="What the search has tried.")]
Document = Annotated[Path, typer.Argument(metavar="FILE", help="A PMML document.")]
Pretty = Annotated[bool, typer.Option("--pretty", help="Indent it.")]
Gzip = Annotated[bool, typer.Option("--gzip", help="Compress it; so is a FILE ending in .gz.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")]
Url = Annotated[str, typer.Option(help="Address of the serving layer, if not the configured one.")]
StoredId = Annotated[
    int | None, typer.Option("--generation", metavar="ID", help="A stored generation instead.")
]


@app.command("list")
def list_models(conf: Conf = None, sets: Sets = None, as_json: Json = False) -> None:
    """List the generations, oldest first."""
    store = _store(settings_of(conf, sets))
    ids = store.ids()
    rows = list(_summaries(store, ids))
    if as_json:
        print_json(rows)
    elif rows:
        print_table(list(rows[0]), [list(map(_cell, row.values())) for row in rows])
    elif not ids:
        print(f"There is no generation in {store.location} yet.", file=sys.stderr)


@app.command()
def show(
    generation: Shown = None, candidates: Candidates = False, conf: Conf = None, sets: Sets = None
) -> None:
    """Print a generation's manifest: data, cut, hyperparameters, metrics, files."""
    store = _store(settings_of(conf, sets))
    found = _newest(store) if generation is None else _generation(store, generation)
    if candidates:
        show_candidates(found)
    else:
        print(json.dumps(asdict(found.manifest), indent=2))


@app.command()
def export(
    output: Output = None,
    url: Url = "",
    generation: StoredId = None,
    pretty: Pretty = False,
    gzip: Gzip = False,
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Write the model as PMML: as it is served now, or as a generation was stored.

    What is served is the batch layer's model with all updates of the speed layer.
    """
    settings = settings_of(conf, sets)
    if generation is None:
        data, what = served(url or serving_url(settings))
    else:
        stored = _generation(_store(settings), generation)
        data, what = _document(stored), f"generation {generation}"
    if pretty:
        from common.pmml.documents import indented

        data = indented(data)
    if gzip or (output is not None and output.suffix == ".gz"):
        data = compressed(data)
    write(data, output, what)


@app.command("import")
def import_document(file: Document, conf: Conf = None, sets: Sets = None) -> None:
    """Serve a PMML document of another tool: check, store and publish it (app = "pmml")."""
    settings = settings_of(conf, sets)
    new = import_model(settings, _store(settings), file, time.time_ns() // 1_000_000)
    print(f"{file} is the newest model, as generation {new.id}.")


@app.command()
def rollback(generation: Id, conf: Conf = None, sets: Sets = None) -> None:
    """Bring an older generation back as the newest, and publish it.

    The next generation that the batch layer builds replaces it again.
    """
    from common.broker import BrokerError
    from common.broker.topics import UnusableTopicError
    from common.config import ConfigError
    from common.store.generations import StoreError
    from stack.rollback import roll_back

    settings = settings_of(conf, sets)
    store = _store(settings)
    old = _generation(store, generation)
    try:
        new = roll_back(settings, store, old, time.time_ns() // 1_000_000)
    except (StoreError, ConfigError) as error:
        message = f"Generation {generation} cannot be brought back: {error}."
        raise UserError(message) from None
    except (BrokerError, UnusableTopicError) as error:
        message = f"The broker did not take generation {generation}: {error}."
        remedy = "If `model list` shows it as stored, the batch layer publishes it when it starts."
        raise UserError(message, remedy, EXIT_UNAVAILABLE) from None
    print(f"Generation {generation} is the newest again, as {new.id}.")


def _store(settings: Settings) -> ModelStore:
    from common.store.generations import ModelStore

    return ModelStore.of(settings.batch.storage)


def _newest(store: ModelStore) -> Generation:
    ids = store.ids()
    if not ids:
        message = f"There is no generation in {store.location} yet."
        raise UserError(message)
    return _generation(store, ids[-1])


def _generation(store: ModelStore, id_: int) -> Generation:
    from common.store.generations import StoreError

    try:
        return store.get(id_)
    except StoreError as error:
        known = ", ".join(map(str, store.ids()[-5:])) or "none"
        message = f"{error}."
        raise UserError(message, f"The newest are: {known}.") from None


def _document(generation: Generation) -> bytes:
    from common.store.generations import StoreError

    try:
        return generation.model_text().encode()
    except StoreError as error:
        message = f"{error}."
        raise UserError(message) from None


def _summaries(store: ModelStore, ids: Sequence[int]) -> Iterator[dict[str, object]]:
    """Yield what is told of each generation; of one that cannot be read, why not, aside."""
    for id_ in ids:
        try:
            yield _summary(store, id_)
        except UserError as error:
            print(f"gemsbok: {error.message}", file=sys.stderr)


def _summary(store: ModelStore, id_: int) -> dict[str, object]:
    manifest = _generation(store, id_).manifest
    return {
        "generation": id_,
        "created": datetime.fromtimestamp(manifest.created / 1000, timezone.utc).isoformat(
            timespec="seconds"
        ),
        "app": manifest.app,
        "published": store.is_published(id_),
        "parent": manifest.parent,
        "engine": manifest.engine,
        "metrics": dict(manifest.metrics),
    }


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(
            f"{name}={number:.4g}" for name, number in value.items() if number is not None
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
