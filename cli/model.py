"""Verb ``model``: the generations in the model store, and the model as it is served."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_UNAVAILABLE, UserError
from cli.options import Conf, Sets, settings_of
from cli.output import print_json, print_table

if TYPE_CHECKING:
    from common.config import Settings
    from common.model_store import Generation, ModelStore

app = typer.Typer(help="List, show, export and roll back models.", no_args_is_help=True)

EXPORT_TIMEOUT_SECONDS = 120.0

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Id = Annotated[int, typer.Argument(metavar="ID", help="As `model list` prints it.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")]
Url = Annotated[str, typer.Option(help="Address of the serving layer, if not the configured one.")]
StoredId = Annotated[
    int | None, typer.Option("--generation", metavar="ID", help="A stored generation instead.")
]


@app.command("list")
def list_models(conf: Conf = None, sets: Sets = None, as_json: Json = False) -> None:
    """List the generations, oldest first."""
    store = _store(settings_of(conf, sets))
    rows = [_summary(store, id_) for id_ in store.ids()]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(list(rows[0]), [list(map(_cell, row.values())) for row in rows])
    else:
        print(f"There is no generation in {store.location} yet.", file=sys.stderr)


@app.command()
def show(generation: Id, conf: Conf = None, sets: Sets = None) -> None:
    """Print a generation's manifest: data, cut, hyperparameters, metrics, files."""
    found = _generation(_store(settings_of(conf, sets)), generation)
    print(json.dumps(asdict(found.manifest), indent=2))


@app.command()
def export(
    output: Output = None,
    url: Url = "",
    generation: StoredId = None,
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Write the model as PMML: as it is served now, or as a generation was stored."""
    settings = settings_of(conf, sets)
    if generation is None:
        data, what = _served(url or serving_url(settings))
    else:
        stored = _generation(_store(settings), generation)
        data, what = stored.model_text().encode(), f"generation {generation}"
    if output is None:
        sys.stdout.buffer.write(data)
        return
    aside = output.with_name(f"{output.name}.part")
    aside.write_bytes(data)
    aside.replace(output)
    print(f"Written: {output} ({len(data)} bytes, {what})")


@app.command()
def rollback(generation: Id, conf: Conf = None, sets: Sets = None) -> None:
    """Bring an older generation back as the newest, and publish it.

    The next generation that the batch layer builds replaces it again.
    """
    from cli.rollback import roll_back
    from common.broker import BrokerError
    from common.config import ConfigError
    from common.model_store import StoreError

    settings = settings_of(conf, sets)
    store = _store(settings)
    old = _generation(store, generation)
    try:
        new = roll_back(settings, store, old, time.time_ns() // 1_000_000)
    except (StoreError, ConfigError) as error:
        message = f"Generation {generation} cannot be brought back: {error}."
        raise UserError(message) from None
    except BrokerError as error:
        message = f"The broker did not take generation {generation}: {error}."
        remedy = "If `model list` shows it as stored, the batch layer publishes it when it starts."
        raise UserError(message, remedy, EXIT_UNAVAILABLE) from None
    print(f"Generation {generation} is the newest again, as {new.id}.")


def serving_url(settings: Settings) -> str:
    """Return where the serving layer answers on this machine, without a slash at the end."""
    api = settings.serving.api
    host = "127.0.0.1" if api.host in ("0.0.0.0", "::") else api.host
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{api.port}{api.context_path}".rstrip("/")


def _served(url: str) -> tuple[bytes, str]:
    address = f"{url.rstrip('/')}/model.pmml"
    if not address.startswith(("http://", "https://")):
        message = f"--url {url}: is not an address, as http://127.0.0.1:8080"
        raise UserError(message)
    try:
        # Serving layers are near: a proxy for the world outside does not know them.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(address, timeout=EXPORT_TIMEOUT_SECONDS) as reply:
            served = reply.headers.get("X-Model-Generation", "unknown")
            return reply.read(), f"generation {served} as it is served"
    except urllib.error.HTTPError as error:
        message = f"{address} answers {error.code}: {_reason(error.read())}"
        raise UserError(message, exit_code=EXIT_UNAVAILABLE) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        message = f"{address} does not answer: {reason}."
        remedy = "Start the serving layer (`bin/gemsbok serving`), or name another by --url."
        raise UserError(message, remedy, EXIT_UNAVAILABLE) from None


def _reason(body: bytes) -> str:
    """Return the sentence in an error's JSON body, or the body where it is none."""
    text = body.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text


def _store(settings: Settings) -> ModelStore:
    from common.model_store import ModelStore

    return ModelStore(settings.batch.storage.model_dir)


def _generation(store: ModelStore, id_: int) -> Generation:
    from common.model_store import StoreError

    try:
        return store.get(id_)
    except StoreError as error:
        known = ", ".join(map(str, store.ids()[-5:])) or "none"
        message = f"{error}."
        raise UserError(message, f"The newest are: {known}.") from None


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
