"""What every family keeps in the batch layer."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from common.store.generations import Generation
from tests.conformance.conftest import Family

pytestmark = [pytest.mark.integration, pytest.mark.layers("batch")]
Build = Callable[..., Generation]


def test_the_same_data_and_seed_give_the_same_files(family: Family, build: Build) -> None:
    lines = family.sample.lines()
    first, second = build(lines[:300]), build(lines[:300], anew=True)
    assert first is not second
    assert len(first.manifest.files) >= 1
    assert first.manifest.files == second.manifest.files


def test_what_is_past_and_what_is_new_does_not_change_the_model(
    family: Family, build: Build
) -> None:
    lines = family.sample.lines()
    whole, parts = build(lines), build(lines[20:], lines[:20])
    one, other = (family.sample.predictions(family.serving(g)) for g in (whole, parts))
    assert one.keys() == other.keys()
    assert one == pytest.approx(other, abs=1e-4)


def test_good_lines_pass_and_bad_ones_have_a_reason(family: Family) -> None:
    lines = family.module("common").Lines(family.settings)
    good, bad = family.sample.lines(), family.sample.BAD_LINES
    columns, reasons = lines.read(pa.array(good))
    assert columns.num_rows == reasons.null_count == len(good) > 0
    reasons = lines.read(pa.array(bad, pa.string())).reasons.to_pylist()
    assert len(reasons) >= 2
    assert all(reasons), dict(zip(bad, reasons, strict=True))


def test_keys_are_stable_and_spread(family: Family) -> None:
    rules, lines = family.module("common").Lines(family.settings), family.sample.lines()
    columns = rules.read(pa.array(lines)).columns
    keys = rules.keys(lines, columns)
    assert len(keys) == len(lines)
    assert list(keys) == [
        key for at, line in enumerate(lines) for key in rules.keys([line], columns.slice(at, 1))
    ]
    assert len(set(keys)) > 8
