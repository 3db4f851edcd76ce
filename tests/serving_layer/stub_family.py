"""A family that does nothing but use each part of the serving layer's framework once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from flask import Blueprint, Response

from common.api import InputLines, Read
from common.config import Settings
from common.replica.updates import ModelMessage
from serving_layer.api import ServingModel
from serving_layer.routes import (
    Form,
    body_lines,
    describe,
    flag,
    model,
    paging,
    reads,
    rescorer_params,
    respond_ids,
    respond_map,
    respond_rows,
    respond_value,
    respond_values,
    send_events,
    unknown_id,
)


class Lines(InputLines):
    def read(self, lines: pa.StringArray) -> Read:
        reasons = [
            f"bad_line: {line!r} is bad" if "bad" in line else None for line in lines.to_pylist()
        ]
        return Read(pa.record_batch({"line": lines}), pa.array(reasons, pa.string()))

    def keys(self, lines: Sequence[str], columns: pa.RecordBatch) -> Sequence[str]:
        return [line.partition(",")[0] for line in lines]


class Serving(ServingModel):
    fraction_loaded = 1.0

    def __init__(self, settings: Settings, name: str = "one") -> None:
        self.name = name

    def load(self, model: ModelMessage) -> None:
        self.name = model.text

    def apply(self, update: str) -> None:
        self.name = update

    def to_pmml(self) -> bytes:
        return b"<PMML><Header/><Extension>" + b"x" * 2000 + b"</Extension></PMML>"


class FixedModel:
    """A ModelSource whose parts are set by hand."""

    def __init__(self, model: Serving | None, generation: int | None = 7) -> None:
        self.model = model
        self.generation = generation
        self.model_age_seconds: float | None = 12.5
        self.missing: str | None = None

    def status(self) -> Mapping[str, object]:
        return {"missing": self.missing, "counts": {"updates": 3}}


def console() -> list[Form]:
    return [
        Form("Echo", "/echo/{id}", query=("howMany",)),
        Form("Ingest", "/ingest", method="POST", body="user,item,1.0", upload=True),
    ]


def blueprint(settings: Settings) -> Blueprint:
    routes = Blueprint("stub", __name__)

    @routes.get("/name")
    def name() -> Response:
        first = model(Serving).name
        time.sleep(0.002)
        assert model(Serving).name == first
        return respond_value(first)

    @routes.get("/echo/<id>")
    @describe(quick=True)
    def echo(id: str) -> Response:
        return respond_value(id)

    @routes.get("/echoes/<segments:ids>")
    def echoes(ids: list[str]) -> Response:
        return respond_ids(ids)

    @routes.get("/context/<user>/")
    def without_items(user: str) -> Response:
        return respond_value(user)

    @routes.get("/items/<items:pairs>")
    def items(pairs: list[tuple[str, float]]) -> Response:
        return respond_rows(pairs)

    @routes.get("/page")
    def page() -> Response:
        wanted = paging()
        known = flag("considerKnownItems")
        return respond_values([wanted.how_many, wanted.skip, known, *rescorer_params()])

    @routes.get("/numbers")
    def numbers() -> Response:
        rows: list[tuple[str, Any]] = [("a,b", np.float32(0.4653969)), ("c", 0.1), ("d", 3)]
        return respond_rows(rows)

    @routes.get("/counts")
    def counts() -> Response:
        return respond_rows([("a", 3)], "count")

    @routes.get("/words")
    def words() -> Response:
        return respond_map({"a": 1, "b": 2})

    @routes.get("/many/<count>")
    def many(count: str) -> Response:
        return respond_ids(f"id-{n}" for n in range(int(count)))

    @routes.get("/user/<user>")
    def user(user: str) -> Response:
        kind = "user"
        raise unknown_id(kind, user)

    @routes.get("/fail")
    def fail() -> Response:
        message = "secret \x1b[31mdetail\n of a failure"
        raise RuntimeError(message)

    @routes.get("/slow/<seconds>")
    def slow(seconds: str) -> Response:
        time.sleep(float(seconds))
        return respond_value("done")

    @routes.post("/lines")
    @reads
    def lines() -> Response:
        return respond_ids(body_lines())

    @routes.post("/ingest")
    def ingest() -> Response:
        return send_events(body_lines())

    @routes.post("/pref/<user>")
    def pref(user: str) -> Response:
        strength = (body_lines(optional=True) or ["1"])[0]
        return send_events([f"{user},{strength}"])

    return routes
