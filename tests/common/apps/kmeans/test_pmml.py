"""A k-means model as PMML: read back, valid, and scored alike by another evaluator."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from common.apps.kmeans.clusters import Clusters
from common.apps.kmeans.pmml import KMeansModel, read_kmeans_pmml, write_kmeans_pmml
from common.apps.kmeans.settings import read_model
from common.apps.kmeans.transform import Transformation
from common.base.lines import join_line
from common.pmml.documents import PmmlError
from common.records.columns import parse
from common.records.encoding import Encoding
from common.records.schema import InputSchema
from common.wire.messages import MessageError
from tests.pmml_check import schema_errors, scores

#: As Oryx writes it: another namespace, centers with spaces around, sizes.
ORYX = """<PMML xmlns="http://www.dmg.org/PMML-4_3" version="4.3"><Header><Application name="Oryx"/>
</Header><DataDictionary numberOfFields="2">
<DataField name="0" optype="continuous" dataType="double"/>
<DataField name="1" optype="continuous" dataType="double"/></DataDictionary>
<ClusteringModel functionName="clustering" modelClass="centerBased" numberOfClusters="3">
<MiningSchema><MiningField name="0"/><MiningField name="1"/></MiningSchema>
<ComparisonMeasure kind="distance"><squaredEuclidean/></ComparisonMeasure>
<ClusteringField field="0"/><ClusteringField field="1"/>
<Cluster id="2" size="1"><Array n="2" type="real">1.0 0.0</Array></Cluster>
<Cluster id="3" size="2"><Array n="2" type="real"> 2.0 -1.0 </Array></Cluster>
<Cluster id="4" size="3"><Array n="2" type="real">-1.0 0.0</Array></Cluster>
</ClusteringModel></PMML>"""
SCHEMA = InputSchema(
    ("id", "height", "colour", "coordinate 1", "weight"),
    ids=frozenset({"id"}),
    ignored=frozenset(),
    numeric=frozenset({"height", "weight", "coordinate 1"}),
    categorical=frozenset({"colour"}),
)
COLOURS = ("blue", "dark red", 'say "green"')


def model(standardize: bool = True) -> KMeansModel:
    random = np.random.default_rng(3)
    moments = [(170.0, 10.0), (0.0, 1.0), (1e6, 250.0)] if standardize else []
    transformation = Transformation.of(SCHEMA, Encoding({"colour": COLOURS}), moments)
    centers = random.normal(size=(5, 6))
    clusters = Clusters((0, 1, 2, 3, 9), centers, np.array([5, 1, 0, 2**40, 7]))
    return KMeansModel(SCHEMA, transformation, clusters, 1_700_000_000_000)


@pytest.mark.parametrize("standardize", [True, False])
def test_a_model_reads_back_and_is_valid(standardize: bool) -> None:
    document = write_kmeans_pmml(model(standardize))
    assert schema_errors(document) == []
    found = read_model(document.decode(), SCHEMA)
    assert found.transformation == model(standardize).transformation
    assert found.clusters.ids == (0, 1, 2, 3, 9)
    assert np.array_equal(found.clusters.centers, model().clusters.centers)
    assert found.clusters.counts.tolist() == [5, 1, 0, 2**40, 7]
    assert found.timestamp == 1_700_000_000_000
    assert write_kmeans_pmml(found) == document


@pytest.mark.jvm
@pytest.mark.parametrize("standardize", [True, False])
def test_another_evaluator_scores_raw_records_alike(standardize: bool) -> None:
    random = np.random.default_rng(4)
    rows: list[dict[str, Any]] = [
        {
            "id": str(number),
            "height": float(random.normal(170, 10)),
            "colour": str(random.choice([*COLOURS, "never seen"])),
            "coordinate 1": float(random.normal()),
            "weight": float(random.normal(1e6, 250)),
        }
        for number in range(1000)
    ]
    if not standardize:
        for row in rows:
            row["height"], row["weight"] = row["coordinate 1"] * 2, row["height"] - 170
    theirs = scores(write_kmeans_pmml(model(standardize)), rows)
    lines = [join_line([str(row[name]) for name in SCHEMA.names]) for row in rows]
    points, n_unseen = model(standardize).transformation.points(parse(pa.array(lines), SCHEMA)[0])
    clusters = model().clusters
    nearest = clusters.nearest(points)
    assert [int(row["cluster"]) for row in theirs] == [clusters.ids[row] for row in nearest]
    assert len(set(nearest.tolist())) >= 3
    assert n_unseen > 100
    distances = clusters.distances(points, nearest) ** 2
    assert [row["distance"] for row in theirs] == pytest.approx(distances, abs=1e-6)


def test_oryx_documents_are_read() -> None:
    found = read_kmeans_pmml(ORYX)
    assert found.clusters.ids == (2, 3, 4)
    assert found.clusters.centers.tolist() == [[1, 0], [2, -1], [-1, 0]]
    assert found.clusters.counts.tolist() == [1, 2, 3]
    assert found.schema.predictors == ("0", "1")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<PMML", "<!DOCTYPE PMML><PMML", "document type"),
        ('modelClass="centerBased"', 'modelClass="distributionBased"', "modelClass"),
        ("squaredEuclidean", "cityBlock", "distance is squaredEuclidean"),
        ('<Cluster id="3"', '<Cluster id="2"', "cluster 2 is there twice"),
        ('<Cluster id="3"', '<Cluster id="x"', "bad id"),
        ('size="2"', "", "bad size"),
        ('size="2"', 'size="-2"', "negative size"),
        ("2.0 -1.0", "2.0", "cluster 3 has 1 coordinates, not 2"),
        ("2.0 -1.0", "2.0 nan", "no number"),
        ("2.0 -1.0", "2.0 x", "could not convert"),
        ("<Cluster .*</Cluster>", "", "no clusters"),
        ('<ClusteringField field="1"/>', '<ClusteringField field="7"/>', "'7'"),
        ("<ClusteringField.*<Cluster ", "<Cluster ", "no ClusteringField"),
        ("ClusteringModel", "RegressionModel", "0 elements ClusteringModel"),
    ],
)
def test_documents_that_cannot_be_used_are_refused(old: str, new: str, reason: str) -> None:
    document = re.sub(old, new, ORYX, flags=re.DOTALL)
    assert document != ORYX
    with pytest.raises(PmmlError, match=reason):
        read_kmeans_pmml(document)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('orig="170.0"', 'orig="190.0"'),
        ('orig="170.0"', 'orig="-inf"'),
        ('orig="170.0" norm="0"', 'orig="170.0" norm="0.5"'),
        ('orig="170.0"', ""),
        ('<LinearNorm orig="170.0" norm="0"/>', ""),
        ('NormContinuous field="height"', 'NormContinuous field="colour"'),
        ('NormDiscrete field="colour" value="blue"', 'NormDiscrete field="height" value="blue"'),
        ('NormDiscrete field="colour" value="blue"', 'NormDiscrete field="id" value="blue"'),
    ],
)
def test_transformations_that_cannot_be_used_are_refused(old: str, new: str) -> None:
    document = write_kmeans_pmml(model()).decode()
    assert old in document
    with pytest.raises(PmmlError, match=r"NormContinuous|LinearNorm|ClusteringField"):
        read_kmeans_pmml(document.replace(old, new))


def test_a_model_of_another_schema_is_refused() -> None:
    with pytest.raises(MessageError, match=r"\[input_schema\] says 2"):
        read_model(
            write_kmeans_pmml(model()).decode(),
            InputSchema(("0", "1"), frozenset(), frozenset(), frozenset("01"), frozenset()),
        )
    with pytest.raises(MessageError, match="not a k-means model"):
        read_model("no XML", SCHEMA)
