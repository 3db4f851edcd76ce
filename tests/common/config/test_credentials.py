"""The file of users: who is in it, and that nobody else reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config.credentials import CredentialsError, User, new_user, read_users, write_users


def test_users_are_read_back(tmp_path: Path) -> None:
    users = [new_user("shop", ["read", "ingest"])[0], new_user("ada", ["admin"], "digest")[0]]
    write_users(tmp_path / "new" / "users.json", users)
    assert read_users(tmp_path / "new" / "users.json") == users
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["users.json"]


def test_secrets_differ_and_are_not_in_the_user() -> None:
    made = [new_user("shop", ["read"]) for _ in range(10)]
    assert len({secret for _, secret in made}) == 10
    assert all(secret not in repr(user) for user, secret in made)


def test_an_administrator_may_do_everything() -> None:
    admin, reader = new_user("a", ["admin"])[0], new_user("b", ["read"])[0]
    assert [admin.may(role) for role in ("read", "ingest", "admin")] == [True] * 3
    assert [reader.may(role) for role in ("read", "ingest", "admin")] == [True, False, False]


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    write_users(path, [])
    path.chmod(0o640)
    with pytest.raises(CredentialsError, match=r"mode 640.*chmod 600"):
        read_users(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"users": 3}',
        '{"users": [{"name": "a"}]}',
        '{"users": [{"name": "a", "roles": ["read"], "kind": "bearer", "hash": "secret"}]}',
        '{"users": [{"name": "a", "roles": [], "kind": "bearer", "hash": "%s"}]}' % ("0" * 64),
    ],
)
def test_what_is_no_file_of_users_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users.json"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(CredentialsError, match=r"users\.json"):
        read_users(path)
    with pytest.raises(CredentialsError, match="gemsbok auth add"):
        read_users(tmp_path / "absent.json")


@pytest.mark.parametrize("name", ["", "a:b", "a b", "a" * 65, 'a"'])
def test_names_fit_into_headers_and_logs(name: str) -> None:
    with pytest.raises(CredentialsError, match="name"):
        User(name, ("read",), "bearer", "0" * 64)
