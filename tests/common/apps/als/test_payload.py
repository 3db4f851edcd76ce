from typing import get_args

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.apps.als.payload import (
    FactorUpdates,
    Kind,
    decode_update,
    decode_updates,
    encode_update,
    encode_updates,
)
from common.wire.messages import MessageError

IDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=4)
FACTORS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1)


def test_payloads_have_oryx_form() -> None:
    vector = np.array([0.1, -2, 1e-8])
    assert encode_update("X", "u", vector, ["i"]) == '["X","u",[0.1,-2.0,1e-8],["i"]]'
    assert encode_update("Y", 'a"b', vector, []) == '["Y","a\\"b",[0.1,-2.0,1e-8]]'
    assert encode_update("X", "u", vector, [], ["j"]) == '["X","u",[0.1,-2.0,1e-8],[],["j"]]'


def test_oryx_payloads_are_read() -> None:
    found = decode_update('["Y","i",[1,2.5]]')
    assert (found.kind, found.id, found.vector.tolist()) == ("Y", "i", [1, 2.5])
    assert found.vector.dtype == np.float32
    assert (found.related, found.removed) == ((), ())
    assert decode_update('["X","u",[1],["a","b"]]').related == ("a", "b")


@given(
    st.sampled_from(get_args(Kind)), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
)
def test_ids_round_trip(kind: Kind, id: str) -> None:
    found = decode_update(encode_update(kind, id, np.ones(2)))
    assert (found.kind, found.id) == (kind, id)


@given(FACTORS, IDS, IDS)
def test_updates_round_trip(factors: list[float], related: list[str], removed: list[str]) -> None:
    found = decode_update(encode_update("X", "u", np.array(factors), related, removed))
    assert np.array_equal(found.vector, np.array(factors, np.float32))
    assert (found.related, found.removed) == (tuple(related), tuple(removed))


def test_many_updates_are_those_one_by_one() -> None:
    vectors = np.random.default_rng(1).normal(size=(100, 7))
    ids = [f"u{n}],[" for n in range(100)]
    related = [[f"i{n}"] * (n % 3) for n in range(100)]
    removed = [["j"] * (n % 2) for n in range(100)]
    many = encode_updates(FactorUpdates("X", ids, vectors, related, removed))
    assert many == [
        encode_update("X", *columns) for columns in zip(ids, vectors, related, removed, strict=True)
    ]
    assert encode_updates(FactorUpdates("Y", [], np.zeros((0, 7)))) == []
    assert all(
        orjson.loads(one)[2] == pytest.approx(v) for one, v in zip(many, vectors, strict=True)
    )


def test_what_cannot_be_a_payload_is_refused() -> None:
    for factor in (np.nan, np.inf, 1e39):
        with pytest.raises(ValueError, match="not a finite float32"):
            encode_update("X", "u", np.array([1.0, factor]))
    with pytest.raises(ValueError, match="zip"):
        encode_updates(FactorUpdates("X", ["u", "v"], np.ones((1, 2))))


BAD = pytest.mark.parametrize(
    ("payload", "what"),
    [
        ("", "not JSON"),
        ('{"a":1}', "not an array of three to five"),
        ('["X","u"]', "not an array of three to five"),
        ('["X","u",[1],[],[],[]]', "not an array of three to five"),
        ('["Z","u",[1]]', "neither X nor Y"),
        ('[[],"u",[1]]', "neither X nor Y"),
        ('["X",1,[1]]', "second element is not an id"),
        ('["X","",[1]]', "second element is not an id"),
        ('["X","u",[]]', "not an array of numbers"),
        ('["X","u","1"]', "not an array of numbers"),
        ('["X","u",["1"]]', "not an array of numbers"),
        ('["X","u",[true]]', "not an array of numbers"),
        ('["X","u",[null]]', "not an array of numbers"),
        ('["X","u",[1,[2]]]', "not an array of numbers"),
        ('["X","u",[1e39]]', "not a finite float32"),
        ('["X","u",[1e999]]', "not JSON"),
        ('["X","u",[1],"i"]', "not arrays of ids"),
        ('["X","u",[1],[1]]', "not arrays of ids"),
        ('["X","u",[1],[],{}]', "not arrays of ids"),
    ],
)


@BAD
def test_bad_payloads_are_refused(payload: str, what: str) -> None:
    with pytest.raises(MessageError, match=what):
        decode_update(payload)


@BAD
def test_a_bad_payload_is_refused_among_good_ones(payload: str, what: str) -> None:
    good = ['["X","u",[1]]', '["Y","i",[2],["u"]]']
    found, refused = decode_updates([good[0], payload, good[1]], 1)
    assert [(update.id, update.vector.tolist()) for update in found] == [("u", [1]), ("i", [2])]
    assert found[1].related == ("u",)
    (error,) = refused
    assert what in str(error)


def test_payloads_of_another_length_are_refused() -> None:
    found, refused = decode_updates(['["X","u",[1]]', '["X","v",[1,2]]'], 2)
    assert [update.id for update in found] == ["v"]
    assert [str(error) for error in refused] == [
        "ALS update of X 'u' has 1 factors, the model has 2"
    ]
    assert decode_updates([], 2) == ([], [])
