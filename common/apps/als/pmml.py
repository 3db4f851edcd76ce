"""ALS models as PMML: extensions alone, as Oryx writes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lxml import etree

from common.pmml.documents import (
    APPLICATION,
    PmmlError,
    join_pmml_delimited,
    new_document,
    parse,
    parse_pmml_delimited,
    read_application,
    read_timestamp,
    tag,
    to_bytes,
)
from common.runtime.memory import memory_limit

_Value = TypeVar("_Value")

#: Of one number of a vector, and of one of a Gramian.
_VECTOR_BYTES, _GRAMIAN_BYTES = 4, 8


@dataclass(frozen=True, kw_only=True)
class AlsModel:
    """What a PMML document says of an ALS model.

    Attributes
    ----------
    features : int
        Length k of each factor vector.
    implicit : bool
        Whether strengths are confidences (implicit feedback) and not ratings.
    regularization : float
        Regularization.
    user_ids, item_ids : sequence of str
        The ids that have a vector, in the order of the factor files.
    alpha : float
        Confidence of one unit of strength; means something where `implicit`.
    log_strength : bool
        Whether strengths r were replaced by ln(1 + r/epsilon).
    epsilon : float
        Means something where `log_strength`.
    user_factors, item_factors : str
        Where the vectors lie, relative to the document.  Oryx has text in folders "X/" and
        "Y/"; ours are safetensors.  (Oryx's own speed and serving layers read the vectors
        from the update topic and pass over these two.)
    timestamp : int or None
        Milliseconds since 1970 at which the model was built.
    application : str
        What built it.
    """

    features: int
    implicit: bool
    regularization: float
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    alpha: float = 1.0
    log_strength: bool = False
    epsilon: float = 1e-5
    user_factors: str = "user_factors.safetensors"
    item_factors: str = "item_factors.safetensors"
    timestamp: int | None = None
    application: str = APPLICATION


def write_als_pmml(model: AlsModel) -> bytes:
    """Write an ALS model as PMML 4.4: no model element, extensions alone, as Oryx does.

    Their order is Oryx's: X, Y, features, lambda, implicit, alpha (implicit only),
    logStrength, epsilon (with logStrength only), XIDs, YIDs.
    """
    root = new_document(model.application, model.timestamp)
    dictionary = root.find(tag("DataDictionary"), None)
    assert dictionary is not None
    # No model element refers to them, but the schema wants one field at least.
    for name in ("user", "item"):
        etree.SubElement(
            dictionary, tag("DataField"), name=name, optype="categorical", dataType="string"
        )
    dictionary.set("numberOfFields", "2")
    values = {
        "X": model.user_factors,
        "Y": model.item_factors,
        "features": str(model.features),
        "lambda": repr(float(model.regularization)),
        "implicit": _boolean_text(model.implicit),
        "alpha": repr(float(model.alpha)) if model.implicit else None,
        "logStrength": _boolean_text(model.log_strength),
        "epsilon": repr(float(model.epsilon)) if model.log_strength else None,
    }
    for name, value in values.items():
        if value is not None:
            etree.SubElement(root, tag("Extension"), name=name, value=value)
    for name, ids in (("XIDs", model.user_ids), ("YIDs", model.item_ids)):
        etree.SubElement(root, tag("Extension"), name=name).text = join_pmml_delimited(ids)
    return to_bytes(root)


def read_als_pmml(
    document: str | bytes, with_ids: bool = True, memory: int | None = None
) -> AlsModel:
    """Read an ALS model, ours or Oryx's; its ids are left out on demand.

    Parameters
    ----------
    document : str or bytes
        The PMML.
    with_ids : bool
        Whether to read the ids.
    memory : int, optional
        Bytes that the process may use, of which the model may ask for half; by default what
        the machine gives it.

    Raises
    ------
    PmmlError
        If it is not PMML, an extension is missing or has no such value, or the model asks for
        more memory than there is.
    """
    root = parse(document)
    extensions = {
        str(element.get("name")): element for element in root.findall("{*}Extension", None)
    }
    implicit = _read(extensions, "implicit", _boolean)
    log_strength = _read(extensions, "logStrength", _boolean, default="false")
    found = AlsModel(
        features=_read(extensions, "features", _count),
        implicit=implicit,
        regularization=_read(extensions, "lambda", _number),
        user_ids=parse_pmml_delimited(_content(extensions, "XIDs")) if with_ids else (),
        item_ids=parse_pmml_delimited(_content(extensions, "YIDs")) if with_ids else (),
        alpha=_read(extensions, "alpha", _number) if implicit else AlsModel.alpha,
        log_strength=log_strength,
        epsilon=_read(extensions, "epsilon", _number) if log_strength else AlsModel.epsilon,
        user_factors=_read(extensions, "X", str, default=AlsModel.user_factors),
        item_factors=_read(extensions, "Y", str, default=AlsModel.item_factors),
        timestamp=read_timestamp(root),
        application=read_application(root),
    )
    _refuse_too_large(found, (memory_limit() if memory is None else memory) // 2)
    return found


def _refuse_too_large(model: AlsModel, allowed: int) -> None:
    """Refuse a model whose vectors and Gramians would not fit, before they are allocated."""
    n_ids = len(model.user_ids) + len(model.item_ids)
    needed = _VECTOR_BYTES * model.features * n_ids + 2 * _GRAMIAN_BYTES * model.features**2
    if needed > allowed:
        message = (
            f"{model.features} features and {n_ids} ids need {needed} bytes of memory, and a "
            f"model may have {allowed} here"
        )
        raise PmmlError(message)


def _read(
    extensions: dict[str, etree._Element],
    name: str,
    convert: Callable[[str], _Value],
    default: str | None = None,
) -> _Value:
    found = extensions.get(name)
    text = default if found is None else found.get("value", default)
    if text is None:
        message = f"PMML lacks the extension {name!r} with a value"
        raise PmmlError(message)
    try:
        return convert(text)
    except ValueError as error:
        message = f"PMML extension {name!r} has a bad value {text[:100]!r}: {error}"
        raise PmmlError(message) from error


def _content(extensions: dict[str, etree._Element], name: str) -> str:
    if name not in extensions:
        message = f"PMML lacks the extension {name!r}"
        raise PmmlError(message)
    return extensions[name].text or ""


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        message = "neither true nor false"
        raise ValueError(message)
    return text.lower() == "true"


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        message = "not a positive number"
        raise ValueError(message)
    return number


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        message = "not a finite number"
        raise ValueError(message)
    return number


def _boolean_text(value: bool) -> str:
    return "true" if value else "false"
