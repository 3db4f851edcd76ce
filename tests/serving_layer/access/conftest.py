"""The ALS application behind the real server, where everybody has to log in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.config.credentials import Kind, User, new_user, write_users
from serving_layer.transport.bridge import Limits
from tests.serving_layer.apps.als.fixture import Served, from_files, serve
from tests.serving_layer.running import Running

LIMITS = Limits(4, 1_000_000, waiting=64, held_bytes=4_000_000, body_seconds=30.0)
CSV = {"Content-Type": "text/csv"}


@dataclass
class People:
    """A file of users with their secrets."""

    path: Path
    users: list[User] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, *roles: str, kind: Kind = "bearer") -> str:
        user, self.secrets[name] = new_user(name, roles, kind)
        self.users.append(user)
        write_users(self.path, self.users)
        return self.secrets[name]

    def token(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secrets[name]}"}


@dataclass
class Guarded:
    """A server that asks who comes."""

    served: Served
    running: Running
    people: People
    client: httpx.Client

    def get(self, path: str, name: str) -> httpx.Response:
        return self.client.get(path, headers=self.people.token(name))

    def ingest(self, body: str, name: str, **headers: str) -> httpx.Response:
        return self.client.post(
            "/ingest", content=body, headers={**CSV, **self.people.token(name), **headers}
        )


@pytest.fixture
def people(tmp_path: Path) -> People:
    found = People(tmp_path / "users.json")
    for name in ("read", "ingest", "admin"):
        found.add(name, name)
    found.add("ada", "read", kind="digest")
    return found


@pytest.fixture
def settings() -> dict[str, Any]:
    """Further settings; a test's module overrides it."""
    return {}


@pytest.fixture
def guarded(tmp_path: Path, people: People, settings: dict[str, Any]) -> Iterator[Guarded]:
    served = serve(from_files(tmp_path), serving__api__auth__file=str(people.path), **settings)
    running = Running(served.app, LIMITS)
    with httpx.Client(base_url=f"http://{running.host}:{running.port}", timeout=30) as client:
        yield Guarded(served, running, people, client)
    running.close()


def code(reply: httpx.Response) -> tuple[int, str]:
    """Status and error code."""
    return reply.status_code, reply.json()["error"]["code"]
