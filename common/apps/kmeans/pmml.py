"""A k-means model as PMML: Oryx's ClusteringModel, and the way from raw records to its space.

A numeric feature that is taken as it is stands in a ClusteringField itself.  Others are derived
in LocalTransformations: standardised by NormContinuous, a category by NormDiscrete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from lxml import etree

from common.apps.kmeans.clusters import Clusters
from common.apps.kmeans.transform import Coordinate, Transformation
from common.pmml.documents import (
    PmmlError,
    join_pmml_delimited,
    new_document,
    parse,
    parse_pmml_delimited,
    read_timestamp,
    tag,
    to_bytes,
)
from common.records.pmml_fields import (
    Fields,
    read_fields,
    write_data_dictionary,
    write_mining_schema,
)
from common.records.schema import InputSchema

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class KMeansModel:
    """A k-means model.

    Attributes
    ----------
    schema : InputSchema
        Of the records that go in.
    transformation : Transformation
        From records to points.
    clusters : Clusters
        In the space of points.
    timestamp : int or None
        Milliseconds since 1970 at which it was built.
    """

    schema: InputSchema
    transformation: Transformation
    clusters: Clusters
    timestamp: int | None = None


def write_kmeans_pmml(model: KMeansModel) -> bytes:
    """Write a model as PMML 4.4."""
    root = new_document(timestamp=model.timestamp)
    fields = Fields(model.schema, model.transformation.encoding.categories, invalid_values="asIs")
    write_data_dictionary(root, fields)
    written = etree.SubElement(
        root,
        tag("ClusteringModel"),
        modelName="k-means",
        functionName="clustering",
        modelClass="centerBased",
        numberOfClusters=str(len(model.clusters)),
    )
    write_mining_schema(written, fields)
    names = _write_transformations(written, model)
    measure = etree.SubElement(written, tag("ComparisonMeasure"), kind="distance")
    etree.SubElement(measure, tag("squaredEuclidean"))
    for name in names:
        field = etree.SubElement(written, tag("ClusteringField"), field=name)
        field.set("compareFunction", "absDiff")
    _write_clusters(written, model.clusters)
    return to_bytes(root)


def read_kmeans_pmml(document: str | bytes) -> KMeansModel:
    """Read a k-means model, ours or Oryx's.

    Raises
    ------
    PmmlError
        If it is not PMML, has no ClusteringModel by centers and Euclidean distance, or the
        parts of it do not fit together.
    """
    root = parse(document)
    model = _one(root, "ClusteringModel")
    _require(model, "modelClass", "centerBased")
    measure = _one(model, "ComparisonMeasure")
    if measure.find("{*}squaredEuclidean", None) is None and (
        measure.find("{*}euclidean", None) is None
    ):
        message = "PMML ClusteringModel: distance is squaredEuclidean or euclidean here"
        raise PmmlError(message)
    schema = read_fields(root, model).schema
    transformation = Transformation(_read_coordinates(model, schema))
    try:
        clusters = _read_clusters(model, len(transformation.coordinates))
    except ValueError as error:
        message = f"PMML ClusteringModel: {error}"
        raise PmmlError(message) from error
    return KMeansModel(schema, transformation, clusters, read_timestamp(root))


def _write_transformations(model: etree._Element, written: KMeansModel) -> list[str]:
    """Write the derived fields; return for each coordinate the name of its field."""
    coordinates = written.transformation.coordinates
    if all(one.is_plain for one in coordinates):
        return [one.feature for one in coordinates]
    names = []
    parent = etree.SubElement(model, tag("LocalTransformations"))
    for number, one in enumerate(coordinates):
        name = one.feature
        if not one.is_plain:
            name = _unused(f"coordinate {number}", written.schema.names)
            _write_derived(parent, name, one)
        names.append(name)
    return names


def _write_derived(parent: etree._Element, name: str, coordinate: Coordinate) -> None:
    feature, category = coordinate.feature, coordinate.category
    field = etree.SubElement(parent, tag("DerivedField"), name=name)
    field.set("optype", "continuous")
    field.set("dataType", "double")
    if category is not None:
        etree.SubElement(field, tag("NormDiscrete"), field=feature, value=category)
        return
    line = etree.SubElement(field, tag("NormContinuous"), field=feature)
    for original, norm in ((coordinate.low, "0"), (coordinate.high, "1")):
        etree.SubElement(line, tag("LinearNorm"), orig=repr(float(original)), norm=norm)


def _unused(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name = f"{name}'"
    return name


def _write_clusters(model: etree._Element, clusters: Clusters) -> None:
    rows = zip(clusters.ids, clusters.centers.tolist(), clusters.counts.tolist(), strict=True)
    for id_, center, count in rows:
        cluster = etree.SubElement(model, tag("Cluster"), id=str(id_), size=str(count))
        array = etree.SubElement(cluster, tag("Array"), n=str(len(center)), type="real")
        array.text = join_pmml_delimited(map(repr, center))


def _read_coordinates(model: etree._Element, schema: InputSchema) -> tuple[Coordinate, ...]:
    derived = {
        str(field.get("name")): _derived(field)
        for field in model.iterfind("{*}LocalTransformations/{*}DerivedField", None)
    }
    plain = {name: Coordinate(name) for name in schema.predictors if name in schema.numeric}
    found = []
    for field in model.iterfind("{*}ClusteringField", None):
        name = str(field.get("field"))
        coordinate = derived.get(name) or plain.get(name)
        if coordinate is None or not _fits(coordinate, schema):
            message = f"PMML ClusteringField {name!r} is neither numeric nor derived from a field"
            raise PmmlError(message)
        found.append(coordinate)
    if not found:
        message = "PMML ClusteringModel has no ClusteringField"
        raise PmmlError(message)
    return tuple(found)


def _fits(coordinate: Coordinate, schema: InputSchema) -> bool:
    """Whether it comes from a predictor of its kind."""
    kind = schema.numeric if coordinate.category is None else schema.categorical
    return coordinate.feature in kind and coordinate.feature in schema.predictors


def _derived(field: etree._Element) -> Coordinate:
    discrete = field.find("{*}NormDiscrete", None)
    if discrete is not None:
        return Coordinate(_attribute(discrete, "field", str), _attribute(discrete, "value", str))
    continuous = _one(field, "NormContinuous")
    ends = [
        (_attribute(end, "orig", float), _attribute(end, "norm", float))
        for end in continuous.iterfind("{*}LinearNorm", None)
    ]
    norms = [norm for _, norm in ends]
    if norms != [0.0, 1.0] or not -math.inf < ends[0][0] < ends[1][0] < math.inf:
        message = f"PMML NormContinuous of {field.get('name')!r} is not one rising line from 0 to 1"
        raise PmmlError(message)
    return Coordinate(_attribute(continuous, "field", str), None, ends[0][0], ends[1][0])


def _read_clusters(model: etree._Element, n_coordinates: int) -> Clusters:
    ids, centers, counts = [], [], []
    for cluster in model.iterfind("{*}Cluster", None):
        ids.append(_attribute(cluster, "id", int))
        counts.append(_attribute(cluster, "size", int))
        text = _one(cluster, "Array").text or ""
        center = [float(item) for item in parse_pmml_delimited(text)]
        if len(center) != n_coordinates:
            message = f"cluster {ids[-1]} has {len(center)} coordinates, not {n_coordinates}"
            raise ValueError(message)
        if not np.isfinite(center).all() or counts[-1] < 0:
            message = f"cluster {ids[-1]} has a coordinate that is no number, or a negative size"
            raise ValueError(message)
        centers.append(center)
    return Clusters(tuple(ids), np.array(centers, np.float64), np.array(counts, np.int64))


def _one(parent: etree._Element, name: str) -> etree._Element:
    found = parent.findall(f"{{*}}{name}", None)
    if len(found) != 1:
        place = etree.QName(parent).localname
        message = f"PMML has {len(found)} elements {name} in {place}, not one"
        raise PmmlError(message)
    return found[0]


def _require(element: etree._Element, attribute: str, value: str) -> None:
    found = element.get(attribute)
    if found != value:
        place = etree.QName(element).localname
        message = f"PMML {place}: {attribute} is {found!r}, not {value!r}"
        raise PmmlError(message)


def _attribute(element: etree._Element, name: str, convert: Callable[[str], _Value]) -> _Value:
    try:
        return convert(element.get(name, ""))
    except ValueError as error:
        place = etree.QName(element).localname
        message = f"PMML {place} has a bad {name}: {error}"
        raise PmmlError(message) from error
