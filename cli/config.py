"""Verb ``config``: what the configuration is, and whether it is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Conf, Sets
from cli.output import print_json, print_table
from common.base.paths import ROOT
from stack.configuration import loaded_of
from stack.errors import EXIT_USAGE, UserError

if TYPE_CHECKING:
    from common.config import Settings

app = typer.Typer(help="Show and check the configuration.", no_args_is_help=True)

#: In the documentation's page the generated tables follow this line.
MARKER = "<!-- keys -->\n\n"
PAGE = ROOT / "docs" / "configuration.md"
REFERENCE = ROOT / "conf" / "reference.toml"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Origin = Annotated[bool, typer.Option("--origin", help="Say where each value was given.")]


@app.command()
def show(
    conf: Conf = None, sets: Sets = None, origin: Origin = False, as_json: Json = False
) -> None:
    """Print every key and its value; secrets as ***."""
    settings, origins = loaded_of(conf, sets)
    values = dict(flat(settings))
    given = {key: _origin(key, origins) for key in values}
    if as_json and origin:
        print_json({key: {"value": values[key], "origin": given[key]} for key in values})
    elif as_json:
        print_json(values)
    elif origin:
        print_table(
            ("key", "value", "origin"), [(k, _shown(v), given[k]) for k, v in values.items()]
        )
    else:
        print_table(("key", "value"), [(key, _shown(value)) for key, value in values.items()])


@app.command()
def check(conf: Conf = None, sets: Sets = None) -> None:
    """Say whether the configuration is right; exit code 2 and every mistake if not."""
    from common.config import fingerprint

    settings, origins = loaded_of(conf, sets)
    _check_schema(settings)
    print(
        f"OK: app {settings.app}, {len(origins)} values given, the rest are defaults; "
        f"fingerprint {fingerprint(settings)[:12]}"
    )


@app.command()
def reference(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables instead.")] = False,
    write: Annotated[
        bool,
        typer.Option("--write", help="Write conf/reference.toml and the documentation's page."),
    ] = False,
) -> None:
    """Print every key with its meaning, the values it takes and its default, as TOML."""
    from common.config.reference import reference_markdown, reference_toml
    from common.runtime.configuration import settings_type

    if write:
        REFERENCE.write_text(reference_toml(settings_type()), encoding="utf-8")
        text = PAGE.read_text(encoding="utf-8").partition(MARKER)[0]
        PAGE.write_text(text + MARKER + reference_markdown(settings_type()), encoding="utf-8")
        print(f"Written: {REFERENCE}, {PAGE}")
    else:
        shown = reference_markdown if markdown else reference_toml
        print(shown(settings_type()), end="")


def flat(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Yield each dotted key and its value in JSON's types; secrets as ``***``."""
    from common.config.keys import Keys, is_secret

    tree = settings.model_dump(mode="json", by_alias=True)
    for path, field in Keys.of(type(settings)).fields.items():
        value: Any = tree
        for name in path:
            value = value[name]
        yield ".".join(path), "***" if value is not None and is_secret(field) else value


def _check_schema(settings: Settings) -> None:
    """Check the features' table where there is one, or where the family needs one."""
    from common.config import ConfigError
    from common.records.schema import InputSchema
    from common.runtime.families import input_lines

    try:
        if settings.input_schema != type(settings.input_schema)():
            InputSchema.from_settings(settings.input_schema)
        input_lines(settings)
    except ConfigError as error:
        raise UserError(str(error), exit_code=EXIT_USAGE) from None


def _origin(key: str, origins: dict[str, str]) -> str:
    """Return where a key was given; a free table may have entries from several places."""
    found = [place for name, place in origins.items() if name == key or name.startswith(f"{key}.")]
    return ", ".join(dict.fromkeys(found)) or "default"


def _shown(value: Any) -> str:
    from common.config.reference import toml_value

    return "not set" if value is None else toml_value(value)
