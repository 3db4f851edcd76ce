"""What others say of a PMML document: its XML schema, and an evaluator that is not ours."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from lxml import etree

from serving_layer.apps.pmml.evaluator import Evaluator
from stack import jars


def schema_errors(document: bytes) -> list[str]:
    """Return what breaks the XML schema of PMML 4.4, one line each; none if it is valid."""
    schema = _schema()
    root = etree.fromstring(document, etree.XMLParser(resolve_entities=False, huge_tree=True))
    # The schema's copy allows attributes of its publisher's besides those of PMML.
    foreign: Any = root.xpath("//@*[starts-with(name(), 'x-')]")
    found = [f"not of PMML: {attribute.attrname}" for attribute in foreign]
    if not schema.validate(root):
        found += [f"line {error.line}: {error.message}" for error in schema.error_log]
    return found


def scores(document: bytes, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Let pypmml score `rows`.

    Parameters
    ----------
    document : bytes
        The PMML document.
    rows : sequence of mapping of str to value
        For each row its input fields by name; a field that is not there, or None, is missing.

    Returns
    -------
    list of dict of str to value
        For each row the model's outputs by name: those of its ``Output`` element, or else
        ``predicted_<target>``, ``probability_<class>`` and the like.
    """
    evaluator = Evaluator(document.decode(), heap="1g")
    names = list(dict.fromkeys(name for row in rows for name in row))
    found = evaluator.score(names, [[row.get(name) for name in names] for row in rows])
    return [dict(zip(evaluator.outputs, values, strict=True)) for values in found]


@cache
def _schema() -> etree.XMLSchema:
    jars.ensure(jars.TEST_JAR_SETS)
    [jar] = jars.jar_files("pmml-schema")
    with zipfile.ZipFile(jar) as archive, archive.open("pmml.xsd") as xsd:
        return etree.XMLSchema(etree.parse(xsd))
