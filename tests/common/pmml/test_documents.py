"""PMML: what is written can be read again, by name; what is hostile is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.apps.als.pmml import AlsModel, read_als_pmml, write_als_pmml
from common.pmml.documents import (
    NAMESPACE,
    PmmlError,
    join_pmml_delimited,
    parse,
    parse_pmml_delimited,
)
from tests.pmml_check import schema_errors

IMPLICIT = AlsModel(
    features=3,
    implicit=True,
    regularization=0.001,
    alpha=1.5,
    log_strength=True,
    epsilon=1e-5,
    user_ids=["U0", "a user", 'say "x"', "back\\slash", "né\u2003日本", "\x01\r\n", "", "-1"],
    item_ids=["I0"],
    timestamp=1_700_000_000_123,
)
EXPLICIT = AlsModel(features=2, implicit=False, regularization=1.0, user_ids=["u"], item_ids=["i"])


def document(body: str, version: str = "4_4", root: str = "PMML") -> str:
    return f'<{root} xmlns="http://www.dmg.org/PMML-{version}">{body}</{root}>'


ORYX = document(
    '<Header><Application name="Oryx"/><Timestamp>2021-07-14T08:30:00+0000</Timestamp></Header>'
    '<Extension name="X" value="X/"/><Extension name="Y" value="Y/"/>'
    '<Extension name="features" value="2"/><Extension name="lambda" value="1.0E-4"/>'
    '<Extension name="implicit" value="true"/><Extension name="alpha" value="1"/>'
    '<Extension name="logStrength" value="false"/>'
    '<Extension name="XIDs">A0 B1 "C 2" a\\n</Extension><Extension name="YIDs"/>',
    version="4_3",
)


def extension_names(model: AlsModel) -> list[str]:
    root = parse(write_als_pmml(model))
    return [str(element.get("name")) for element in root.findall(f"{{{NAMESPACE}}}Extension")]


@pytest.mark.parametrize("model", [IMPLICIT, EXPLICIT])
def test_als_round_trip(model: AlsModel) -> None:
    assert read_als_pmml(write_als_pmml(model)) == model


@pytest.mark.parametrize("model", [IMPLICIT, EXPLICIT])
def test_als_is_valid(model: AlsModel) -> None:
    assert schema_errors(write_als_pmml(model)) == []


def test_what_is_not_valid_is_told() -> None:
    document = write_als_pmml(IMPLICIT)
    [told] = schema_errors(document.replace(b"<Header>", b'<Header colour="red">'))
    assert "colour" in told
    [told] = schema_errors(document.replace(b"<Header>", b'<Header x-colour="red">'))[:1]
    assert "x-colour" in told


def test_als_extensions_are_those_of_oryx_in_its_order() -> None:
    names = ["X", "Y", "features", "lambda", "implicit", "alpha", "logStrength", "epsilon"]
    assert extension_names(IMPLICIT) == [*names, "XIDs", "YIDs"]
    assert extension_names(EXPLICIT) == [
        *(name for name in names if name not in ("alpha", "epsilon")),
        "XIDs",
        "YIDs",
    ]


def test_reads_what_oryx_wrote() -> None:
    model = read_als_pmml(ORYX)
    assert model.application == "Oryx"
    assert model.user_ids == ["A0", "B1", "C 2", "a\\n"]
    assert model.item_ids == []
    assert (model.features, model.implicit, model.regularization, model.alpha) == (
        2,
        True,
        1e-4,
        1.0,
    )
    assert (model.user_factors, model.item_factors) == ("X/", "Y/")
    assert model.timestamp == 1_626_251_400_000


@pytest.mark.parametrize("version", ["4_2", "4_3", "4_4"])
def test_reads_versions(version: str) -> None:
    assert parse(document("", version)) is not None


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('<Extension name="features" value="2"/>', "", "'features'"),
        ('name="features" value="2"', 'name="features" value="0"', "'0'"),
        ('name="lambda" value="1.0E-4"', 'name="lambda" value="NaN"', "'lambda'"),
        ('name="implicit" value="true"', 'name="implicit" value="yes"', "'implicit'"),
        ('<Extension name="YIDs"/>', "", "'YIDs'"),
        ("A0 B1", '"A0 B1', "quotation"),
    ],
)
def test_errors_name_the_extension(old: str, new: str, named: str) -> None:
    assert old in ORYX
    with pytest.raises(PmmlError, match=named):
        read_als_pmml(ORYX.replace(old, new))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + ORYX, "document type"),
        (document("<a>" * 300 + "</a>" * 300), "deeper than 256"),
        (document("<a>" * 100_000 + "</a>" * 100_000), "deeper than 256"),
        ("<a>" * 1000, "well-formed"),
        (document("&undefined;"), "well-formed"),
        (document("", "3_0"), "root element"),
        (document("", root="PML"), "root element"),
        ("", "well-formed"),
        ("[1,2]", "well-formed"),
    ],
)
def test_refuses_what_is_hostile_or_no_pmml(text: str, reason: str) -> None:
    with pytest.raises(PmmlError, match=reason):
        parse(text)


def test_refuses_other_encodings_and_too_much() -> None:
    with pytest.raises(PmmlError, match="UTF-8"):
        parse(ORYX.encode("utf-16"))
    with pytest.raises(PmmlError, match="more than 100 bytes"):
        parse(ORYX, max_bytes=100)


def test_delimited_form() -> None:
    """Oryx's quoting: spaces are quoted, a quote is escaped by a backslash."""
    assert join_pmml_delimited(["a", "b c", 'd"e']) == r'a "b c" "d\"e"'
    assert parse_pmml_delimited(r'a "b c" "d\"e"') == ["a", "b c", 'd"e']
    assert parse_pmml_delimited("") == []


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]))))
def test_delimited_round_trip(items: list[str]) -> None:
    assert parse_pmml_delimited(join_pmml_delimited(items)) == items


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), max_size=5))
def test_any_ids_survive_xml(items: list[str]) -> None:
    model = AlsModel(features=1, implicit=False, regularization=0.1, user_ids=items, item_ids=items)
    assert read_als_pmml(write_als_pmml(model)) == model
