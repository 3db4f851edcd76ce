import logging
import zlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.apps.als import settings as als
from common.apps.als.events import MAX_STRENGTH, Interactions, decay, parse, read
from common.apps.als.pairs import EventsByPair, add_up_in_any_order, aggregate, sort_stably
from common.base.lines import join_line
from common.config import ConfigError, Settings
from common.runtime.configuration import load

NAN = float("nan")
DAY = 86_400_000


def events(lines: Sequence[str], times: Sequence[int] | None = None) -> pa.RecordBatch:
    count = len(lines)
    return pa.record_batch(
        {
            "partition": pa.array([0] * count, pa.int32()),
            "offset": pa.array(range(count), pa.int64()),
            "timestamp": pa.array(times or [1000] * count, pa.int64()),
            "value": pa.array(lines, pa.string()),
        }
    )


def interactions(rows: Sequence[tuple[str, str, float, int]]) -> Interactions:
    users, items, values, times = zip(*rows, strict=True)
    return Interactions(
        pa.array(users).dictionary_encode(),
        pa.array(items).dictionary_encode(),
        np.array(values, np.float64),
        np.array(times, np.int64),
        np.arange(len(rows)),
    )


def pairs(found: Interactions) -> dict[tuple[str, str], float]:
    keys = zip(found.users.to_pylist(), found.items.to_pylist(), strict=True)
    return dict(zip(keys, found.values.tolist(), strict=True))


def test_parse_reads_every_form_of_a_line() -> None:
    lines = [
        "u,i",
        "u,i,2.5,77",
        "v,j,",
        '["v",7,-1e2,99]',
        '"w,1",j, 3 ,',
        "w,i,+.5",
        r"x\,y,i,1,9223372036854775807",
    ]
    assert read(pa.array(lines)).reasons.null_count == len(lines)
    found = parse(events(lines, [10, 20, 30, 40, 50, 60, 70]))
    assert found.users.to_pylist() == ["u", "u", "v", "v", "w,1", "w", "x,y"]
    assert found.items.to_pylist() == ["i", "i", "j", "7", "j", "i", "i"]
    np.testing.assert_array_equal(found.values, [1, 2.5, NAN, -100, 3, 0.5, 1])
    assert found.timestamps.tolist() == [10, 77, 30, 99, 50, 60, 2**63 - 1]
    assert (np.diff(found.positions) > 0).all()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (None, "no value"),
        ("u", "1 fields, not 2 to 4"),
        ("u,i,1,2,3", "5 fields"),
        (",i,1", "the user is empty"),
        ("u,,1", "the item is empty"),
        ("u" * 1025 + ",i", "the user has more than 1024 bytes"),
        ("u," + "é" * 513, "the item has more than 1024 bytes"),
        ("u\t,i", "the user holds a control character"),
        ("u,i\u0085", "the item holds a control character"),
        ("u,i,x", "strength is not a finite number"),
        ("u,i,nan", "strength is not a finite number"),
        ("u,i,inf", "strength is not a finite number"),
        ("u,i,1e39", "strength is not a finite number"),
        ("u,i,1e400", "strength is not a finite number"),
        ("u,i, ", "strength is not a finite number"),
        ("u,i,0x10", "strength is not a finite number"),
        ("u,i,1,0", "timestamp is not a positive integer"),
        ("u,i,1,-5", "timestamp is not a positive integer"),
        ("u,i,1,1.5", "timestamp is not a positive integer"),
        ("u,i,1,0x10", "timestamp is not a positive integer"),
        ("u,i,1,9223372036854775808", "timestamp is not a positive integer"),
        ("[1,]", "not a JSON array"),
    ],
)
def test_check_says_why_a_line_is_refused(line: str | None, reason: str) -> None:
    # Good lines around it, as one bad number must not change how others are read.
    reasons = read(pa.array(["a,b,1,2", line, "a,b,,"], pa.string())).reasons
    assert reasons.to_pylist()[::2] == [None, None]
    assert reason in reasons[1].as_py()


def test_parse_leaves_bad_lines_out_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = parse(events(["u,i", "bad", "v,j,2"]))
    assert pairs(found) == {("u", "i"): 1, ("v", "j"): 2}
    assert "1 lines left out; the first: 1 fields" in caplog.text


def test_nothing_is_nothing() -> None:
    assert len(read(pa.array([], pa.string())).reasons) == 0
    found = parse(events([]))
    assert len(found) == len(aggregate(found, True, False, 1.0)) == 0


ID = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(st.lists(st.tuples(ID, ID, st.floats(-1e30, 1e30), st.integers(1, 2**63 - 1)), min_size=1))
def test_lines_of_any_ids_are_read_back(rows: list[tuple[str, str, float, int]]) -> None:
    lines = [join_line([user, item, repr(value), str(time)]) for user, item, value, time in rows]
    found = parse(events(lines))
    columns = (found.users, found.items, found.values, found.timestamps)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == rows


NUMBER = st.sampled_from(["", "1", " 2.5\t", "+1", "nan", "-inf", "1e39", "0x10", "07", "x", "-5"])
PLAIN = st.lists(st.sampled_from(["u", "v", "é w", "a\x00", "", "u" * 1025]) | NUMBER, min_size=1)


GOOD = st.tuples(*[st.sampled_from(["u", "v", "é w"])] * 2, *[st.sampled_from(["", "1", "+2"])] * 2)


@pytest.mark.slow
@given(st.integers(2, 4), st.lists(GOOD), st.lists(PLAIN, max_size=1))
def test_lines_in_bulk_are_read_as_one_by_one(
    length: int, good: list[tuple[str, ...]], any_: list[list[str]]
) -> None:
    lines = [",".join(tokens[:length]) for tokens in good] + [",".join(one) for one in any_]
    # Only many are read in bulk.
    lines *= 2000 // max(len(lines), 1) + 1
    times = list(range(1, len(lines) + 2))
    # A quoted line makes all of them go the long way.
    columns, reasons = read(pa.array([*lines, '"q",q']))
    plain, plain_reasons = read(pa.array(lines, pa.string()))
    assert plain_reasons.to_pylist() == reasons.to_pylist()[:-1]
    good = plain_reasons.is_null()
    texts = columns["timestamp_text"][:-1].filter(good)
    assert plain["timestamp_text"].filter(good).to_pylist() == texts.to_pylist()
    found = parse(events(lines, times[:-1]))
    other = parse(events([*lines, '"q",q'], times))
    assert found.users.to_pylist() == other.users.to_pylist()[:-1]
    assert found.items.to_pylist() == other.items.to_pylist()[:-1]
    np.testing.assert_array_equal(found.values, other.values[:-1])
    assert found.timestamps.tolist() == other.timestamps.tolist()[:-1]


@pytest.mark.parametrize("bound", [100, 2**62])
def test_keys_are_sorted_stably(bound: int) -> None:
    keys = np.random.default_rng(1).integers(0, 100, 1000)
    ordered = keys.copy()
    order = sort_stably(ordered, bound)
    assert order.tolist() == np.argsort(keys, kind="stable").tolist()
    assert ordered.tolist() == sorted(keys.tolist())


def test_key_spreads_users_and_keeps_each_together() -> None:
    def keys(lines: list[str]) -> list[str]:
        family = als.Lines(Settings())
        return list(family.keys(lines, family.read(pa.array(lines)).columns))

    assert keys(["u,i,1", '["u","j"]']) == [f"{zlib.crc32(b'u'):08x}"] * 2
    assert len(set(keys([f"u{n},i" for n in range(1000)]))) == 1000
    # A line that cannot be read needs some key all the same.
    assert keys(["bad", "u,i"]) == [f"{zlib.crc32(b'bad'):08x}", f"{zlib.crc32(b'u'):08x}"]


def test_oryx_decay() -> None:
    rows = [("u", "i", 3.0, 0), ("u", "j", 3.0, DAY), ("u", "k", 3.0, 5 * DAY), ("u", "l", NAN, 0)]
    found = decay(interactions(rows), now=DAY, factor=0.5, zero_threshold=0)
    np.testing.assert_allclose(found.values, [1.5, 3.0, 3.0, NAN])
    same = interactions(rows)
    assert decay(same, DAY, 1.0, 0.0) is same


def test_decay_drops_the_weak_and_keeps_deletes_and_dislikes() -> None:
    rows = [("u", "i", 3.0, 0), ("u", "j", 1.0, 0), ("u", "k", -3.0, 0), ("u", "l", NAN, 0)]
    found = decay(interactions(rows), now=DAY, factor=0.5, zero_threshold=0.5)
    assert found.items.to_pylist() == ["i", "k", "l"]


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ((1, 2, 3), 6),
        ((1, NAN, 3), 3),
        ((1, 2, NAN), NAN),
        ((NAN, NAN, 1, 1), 2),
        ((3e38, 3e38), MAX_STRENGTH),
        ((-3e38, -3e38), -MAX_STRENGTH),
    ],
)
def test_oryx_ordered_sum(values: tuple[float, ...], total: float) -> None:
    rows = [("u", "i", value, time) for time, value in enumerate(values, 1)]
    others = [("u", "h", 5.0, 1), ("v", "i", 7.0, 2)]
    # Time decides, not the order of arrival.
    found = aggregate(interactions([*others, *reversed(rows)]), True, False, 1.0)
    assert list(pairs(found)) == [("u", "h"), ("u", "i"), ("v", "i")]
    np.testing.assert_allclose(found.values, [5, total, 7])
    assert found.timestamps.tolist() == [1, len(values), 2]


def test_at_one_time_the_position_decides() -> None:
    rows = interactions([("u", "i", 4.0, 9), ("u", "i", NAN, 9)])
    for implicit in (True, False):
        for one in (rows, rows.take(np.array([1, 0]))):
            assert np.isnan(aggregate(one, implicit, False, 1.0).values).tolist() == [True]


def test_explicit_strengths_do_not_add_up() -> None:
    rows = [("u", "i", 5.0, 3), ("u", "i", 2.0, 1), ("v", "i", NAN, 1), ("v", "i", 3.0, 2)]
    assert pairs(aggregate(interactions(rows), False, False, 1.0)) == {
        ("u", "i"): 5.0,
        ("v", "i"): 3.0,
    }


def test_log_strength_keeps_the_sign() -> None:
    rows = [("u", "i", 2.0, 1), ("u", "i", 1.0, 2), ("u", "j", -3.0, 1), ("u", "k", NAN, 1)]
    found = aggregate(interactions(rows), True, True, 0.5)
    np.testing.assert_allclose(found.values, [np.log(7), -np.log(7), NAN])


def test_oryx_batch_content() -> None:
    """Upper triangle of 4 users by 4 items, the diagonal deleted, (A0, A0) added again."""
    users, items = ["A0", "B1", "C2", "D3"], ["A0", "B1", "C2", "D3"]
    cells = [(u, i) for n, u in enumerate(users) for i in items[n:]]
    rows = [(u, i, 1.0, 1) for u, i in cells]
    rows += [(u, u, NAN, 2) for u in users] + [("A0", "A0", 1.0, 3)]
    found = aggregate(interactions(rows), True, False, 1.0)
    kept = found.take(~np.isnan(found.values))
    known: dict[str, set[str]] = {}
    for user, item in pairs(kept):
        known.setdefault(user, set()).add(item)
    assert known == {"A0": {"A0", "B1", "C2", "D3"}, "B1": {"C2", "D3"}, "C2": {"D3"}}
    assert set(kept.items.to_pylist()) == set(items)


ROWS = st.lists(
    st.tuples(
        st.sampled_from("uvw"),
        st.sampled_from("ijk"),
        st.sampled_from([1.0, 2.0, -1.0, NAN]),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=30,
)


@given(ROWS, st.booleans())
def test_aggregate_is_the_plain_loop_in_any_order_of_rows(
    rows: list[tuple[str, str, float, int]], implicit: bool
) -> None:
    expected: dict[tuple[str, str], float] = {}
    for user, item, value, _ in sorted(rows, key=lambda row: row[3]):
        before = expected.get((user, item), NAN)
        adds = implicit and not np.isnan(before)
        expected[user, item] = before + value if adds else value
    whole = interactions(rows)
    shuffled = np.random.default_rng(len(rows)).permutation(len(rows))
    for one in (whole, whole.take(shuffled)):
        found = pairs(aggregate(one, implicit, False, 1.0))
        assert list(found) == sorted(expected)
        np.testing.assert_array_equal(
            list(found.values()), [expected[key] for key in sorted(expected)]
        )


@given(ROWS)
def test_sums_of_integers_need_no_order_in_time(rows: list[tuple[str, str, float, int]]) -> None:
    events = interactions(rows)
    exact = add_up_in_any_order(events.values)
    assert exact == (not np.isnan(events.values).any())
    found = EventsByPair.of(events, in_time=not exact)
    in_time = aggregate(events, True, False, 1.0)
    np.testing.assert_array_equal(found.strengths(True, False, 1.0), in_time.values)
    assert found.user_ids.take(pa.array(found.users)).to_pylist() == in_time.users.to_pylist()
    assert found.item_ids.take(pa.array(found.items)).to_pylist() == in_time.items.to_pylist()


@pytest.mark.parametrize("values", [[0.1, 0.2], [1.0, NAN], [2.0**53, 1.0]])
def test_other_sums_need_it(values: list[float]) -> None:
    assert not add_up_in_any_order(np.array(values))


def test_settings_are_those_of_oryx() -> None:
    settings = load().section("als")
    assert (settings.iterations, settings.implicit, settings.log_strength) == (10, True, False)
    assert settings.hyperparams.model_dump(by_alias=True) == {
        "features": 10,
        "lambda": 0.001,
        "alpha": 1.0,
        "epsilon": 0.00001,
    }
    assert (settings.decay.factor, settings.decay.zero_threshold) == (1.0, 0.0)
    assert not settings.no_known_items
    assert settings.rescorer_provider_class is None


@pytest.mark.parametrize(
    ("given", "read"),
    [("1", 1.0), ("[1, 5.5]", [1.0, 5.5]), ("{around = 1, step = 2}", {"around": 1, "step": 2})],
)
def test_a_hyperparameter_may_be_a_range(given: str, read: object) -> None:
    settings = load(environment={"GEMSBOK_ALS__HYPERPARAMS__LAMBDA": given})
    assert settings.section("als").hyperparams.regularization == read


@pytest.mark.parametrize(
    ("key", "value"),
    [("hyperparams.features", "0"), ("hyperparams.lambda", "-1"), ("decay.factor", "1.5")],
)
def test_settings_out_of_range_are_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"als.{key}"):
        load(flags={f"als.{key}": value})
