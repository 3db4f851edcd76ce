"""The fields of a PMML document, written and read back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lxml import etree

from common.pmml.documents import PmmlError, new_document, parse, tag, to_bytes
from common.records.pmml_fields import (
    Fields,
    read_fields,
    require_schema,
    write_data_dictionary,
    write_mining_schema,
)
from common.records.schema import InputSchema

SCHEMA = InputSchema(
    names=("id", "size", "colour", "skip", "label"),
    ids=frozenset({"id"}),
    ignored=frozenset({"skip"}),
    numeric=frozenset({"size"}),
    categorical=frozenset({"colour", "label"}),
    target="label",
)
CATEGORIES = {"colour": ("red", 'deep "blue"', "a b\tc"), "label": ("no", "yes")}
FIELDS = Fields(SCHEMA, CATEGORIES, {"size": 0.75, "colour": 0.25}, "asMissing")


def written(fields: Fields = FIELDS) -> etree._Element:
    root = new_document()
    write_data_dictionary(root, fields)
    write_mining_schema(etree.SubElement(root, tag("TreeModel")), fields)
    return parse(to_bytes(root))


def model_of(root: etree._Element) -> etree._Element:
    found = root.find("{*}TreeModel", None)
    assert found is not None
    return found


def test_fields_come_back_with_categories_in_the_order_of_their_encoding() -> None:
    root = written()
    found = read_fields(root, model_of(root))
    assert found.categories == CATEGORIES
    assert found.importances == FIELDS.importances
    assert found.schema.names == SCHEMA.names
    assert found.schema.target == "label"
    assert found.schema.ignored == {"id", "skip"}
    require_schema(found.schema, SCHEMA)


def test_every_field_has_its_usage_and_predictors_their_treatment() -> None:
    fields = written().findall(".//{*}MiningField", None)
    assert [f.get("usageType") for f in fields] == [
        "supplementary",
        "active",
        "active",
        "supplementary",
        "predicted",
    ]
    treated = [f.get("name") for f in fields if f.get("invalidValueTreatment") == "asMissing"]
    assert treated == ["size", "colour"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"names": ("id", "size", "colour", "skip")}, "number of features is 5.*says 4"),
        ({"names": ("id", "size", "color", "skip", "label")}, "feature 2 is 'colour'.*'color'"),
        (
            {"numeric": frozenset({"colour"}), "categorical": frozenset({"size", "label"})},
            "'size' is numeric.*says categorical",
        ),
        ({"target": None}, "target is 'label'.*None"),
    ],
)
def test_another_schema_is_named(change: dict[str, object], words: str) -> None:
    root = written()
    with pytest.raises(PmmlError, match=words):
        require_schema(read_fields(root, model_of(root)).schema, replace(SCHEMA, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('<DataField name="skip"', '<DataField name="size"', "DataField 'size' twice"),
        ('<MiningField name="skip"', '<MiningField name="other"', "alone"),
        ('optype="continuous"', 'optype="odd"', "'size'.*optype is 'odd'"),
        ('<Value value="no"', '<Value value="yes"', "'yes' of the field 'label' twice"),
        ('importance="0.75"', 'importance="much"', "'size'.*'much'"),
        ('"supplementary"', '"predicted"', "several targets"),
    ],
)
def test_a_document_that_contradicts_itself_is_refused(old: str, new: str, words: str) -> None:
    text = to_bytes(written()).decode()
    assert old in text
    root = parse(text.replace(old, new))
    with pytest.raises(PmmlError, match=words):
        read_fields(root, model_of(root))
