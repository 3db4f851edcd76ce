"""Verb ``auth``: who may use the serving layer's HTTP interface."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Conf, Sets
from cli.output import print_json, print_table
from stack.configuration import settings_of
from stack.errors import EXIT_USAGE, UserError

if TYPE_CHECKING:
    from common.config.credentials import User

app = typer.Typer(help="Who may use the serving layer's HTTP interface.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Letters, digits, '.', '_' and '-'.")]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", help="read, ingest or admin; may be repeated. By default read."),
]
ByDigest = Annotated[
    bool,
    typer.Option("--digest", help="A password for HTTP digest, which browsers ask for."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def add(
    name: Name,
    role: Roles = None,
    digest: ByDigest = False,
    as_json: Json = False,
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Add a user and print the secret, once: it is kept nowhere."""
    from common.config.credentials import CredentialsError, new_user, write_users

    path = _file(conf, sets)
    users = _users(path) if path.exists() else []
    if any(user.name == name for user in users):
        message = f"there is a user {name!r} already"
        raise UserError(message, "Take another name, or remove it first: bin/gemsbok auth remove")
    try:
        user, secret = new_user(name, role or ["read"], "digest" if digest else "bearer")
    except CredentialsError as error:
        raise UserError(str(error), exit_code=EXIT_USAGE) from None
    write_users(path, [*users, user])
    if as_json:
        print_json({"name": name, "roles": user.roles, "kind": user.kind, "secret": secret})
    else:
        print(secret)


@app.command("list")
def list_users(as_json: Json = False, conf: Conf = None, sets: Sets = None) -> None:
    """List the users; their secrets are known to themselves alone."""
    rows = [(user.name, ",".join(user.roles), user.kind) for user in _users(_file(conf, sets))]
    if as_json:
        print_json([dict(zip(("name", "roles", "kind"), row, strict=True)) for row in rows])
    else:
        print_table(("name", "roles", "kind"), rows)


@app.command()
def remove(name: Name, conf: Conf = None, sets: Sets = None) -> None:
    """Remove a user; a serving layer that runs refuses it from the next second on."""
    from common.config.credentials import write_users

    path = _file(conf, sets)
    users = _users(path)
    left = [user for user in users if user.name != name]
    if len(left) == len(users):
        message = f"there is no user {name!r}"
        raise UserError(message, "bin/gemsbok auth list shows those there are.")
    write_users(path, left)
    print(f"Removed: {name}")


def _file(conf: Path | None, sets: list[str] | None) -> Path:
    path = settings_of(conf, sets).serving.api.auth.file
    if path is None:
        message = "The configuration names no file of users, so that nobody has to log in."
        remedy = "Set serving.api.auth.file, for example by --set serving.api.auth.file=users.json"
        raise UserError(message, remedy, exit_code=EXIT_USAGE)
    return path


def _users(path: Path) -> list[User]:
    from common.config.credentials import CredentialsError, read_users

    try:
        return read_users(path)
    except CredentialsError as error:
        raise UserError(str(error)) from None
