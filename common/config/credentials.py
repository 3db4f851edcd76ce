"""The file of users of the HTTP interface: names, roles and hashed secrets.

Secrets are generated here from 256 random bits and shown once.  For a bearer token the file
holds its SHA-256.  A slow hash protects passwords that people choose; a random 256-bit token
cannot be guessed, and a slow hash would cost each request milliseconds.  For a digest password
the file holds H(A1) of RFC 7616, which the protocol needs.  Unlike a token's hash, H(A1) is
enough to log in, so the file must be readable by its owner only.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from common.base.hashing import sha256_hex
from common.base.private_files import PrivateFileError, read_private, write_private

Kind = Literal["bearer", "digest"]

#: What a user may do: query, write events, everything.
ROLES = ("read", "ingest", "admin")
#: The digest realm; H(A1) is the hash of name, realm and password.
REALM = "gemsbok"

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")


class CredentialsError(ValueError):
    """The file of users cannot be used; the text says why and how to repair it."""


@dataclass(frozen=True)
class User:
    """A user who may log in.

    Attributes
    ----------
    name : str
        Letters, digits, dots, dashes and underscores; 1 to 64.
    roles : tuple of str
        Of :data:`ROLES`; ``admin`` includes the others.
    kind : str
        How the user logs in: ``bearer``, with ``Authorization: Bearer <token>``, or ``digest``,
        with name and password.
    hash : str
        SHA-256 (hex) of the token, or of ``name:realm:password``.

    Raises
    ------
    CredentialsError
        If an attribute does not have the form above.
    """

    name: str
    roles: tuple[str, ...]
    kind: Kind
    hash: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            message = f"the name {self.name!r} is not 1 to 64 letters, digits, '.', '_' and '-'"
            raise CredentialsError(message)
        if not self.roles or not set(self.roles) <= set(ROLES):
            message = f"the roles of {self.name!r} are {list(self.roles)}; known are {list(ROLES)}"
            raise CredentialsError(message)
        if self.kind not in ("bearer", "digest") or not _HASH.fullmatch(self.hash):
            message = f"the kind or the hash of {self.name!r} is not one"
            raise CredentialsError(message)

    def may(self, role: str) -> bool:
        """Whether the user has a role."""
        return role in self.roles or "admin" in self.roles


def new_user(name: str, roles: Iterable[str], kind: Kind = "bearer") -> tuple[User, str]:
    """Return a new user and its secret, which is stored nowhere."""
    secret = secrets.token_urlsafe(32)
    hashed = secret if kind == "bearer" else f"{name}:{REALM}:{secret}"
    return User(name, tuple(dict.fromkeys(roles)), kind, sha256_hex(hashed)), secret


def read_users(path: Path) -> list[User]:
    """Read the file of users.

    Raises
    ------
    CredentialsError
        If the file is absent, malformed, or readable by others than its owner.
    """
    try:
        data = read_private(path)
    except PrivateFileError as error:
        hint = "" if path.exists() else "; bin/gemsbok auth add makes it"
        message = f"{error}{hint}"
        raise CredentialsError(message) from error
    try:
        return [_user(entry) for entry in json.loads(data)["users"]]
    except (ValueError, TypeError, KeyError) as error:
        message = f"{path} is not a file of users: {error}"
        raise CredentialsError(message) from error


def write_users(path: Path, users: Iterable[User]) -> None:
    """Replace the file of users atomically; only its owner may read it."""
    content = json.dumps({"users": [asdict(user) for user in users]}, indent=2) + "\n"
    write_private(path, content)


def _user(entry: dict[str, Any]) -> User:
    return User(**{**entry, "roles": tuple(entry["roles"])})
