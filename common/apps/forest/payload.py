"""The payload of a forest's ``UP``: one leaf, in Oryx's form.

``[tree, "node", {"class code": count, ...}]`` for classification, and
``[tree, "node", mean, count]`` for regression.  With our headers it is what the leaf has seen
in all; without, what it has seen since (Oryx's rule).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson

from common.apps.forest.model import ForestModel, Leaves
from common.apps.forest.trees import Matrix
from common.wire.messages import MessageError


def encode_update(model: ForestModel, node: int, total: Matrix) -> str:
    """Return the payload that says so of a leaf.

    Parameters
    ----------
    model : ForestModel
        Whose leaf it is.
    node : int
        The leaf.
    total : ndarray of float64
        As in :class:`common.apps.forest.model.Leaves`.
    """
    trees = model.trees
    tree = int(np.searchsorted(trees.roots, node, side="right")) - 1
    address = [tree, trees.path(node)]
    numbers = [_whole(number) for number in total.tolist()]
    if model.leaves.classification:
        counts = {str(code): number for code, number in enumerate(numbers) if number}
        return orjson.dumps([*address, counts]).decode()
    count, _ = numbers
    return orjson.dumps([*address, float(total[1]), count]).decode()


def replace_leaf(model: ForestModel, update: str) -> None:
    """Give a leaf the total of a payload that came with our headers.

    Raises
    ------
    MessageError
        If the payload cannot be read, or the model has no such leaf or class.
    """
    model.leaves.replace(*_decode(model, update))


def add_to_leaf(model: ForestModel, update: str) -> None:
    """Add to a leaf what a payload without our headers says that it has seen since.

    Raises
    ------
    MessageError
        If the payload cannot be read, or the model has no such leaf or class.
    """
    model.leaves.add(*_decode(model, update))


def _decode(model: ForestModel, update: str) -> tuple[int, Matrix]:
    try:
        tree, path, *rest = orjson.loads(update)
        node = model.trees.node(tree, path)
        total = _total(model.leaves, rest)
    except (ValueError, TypeError, AttributeError) as error:
        message = f"bad forest update {update[:100]!r}: {error}"
        raise MessageError(message) from error
    if node is None or not model.trees.is_leaf[node]:
        message = f"the forest has no leaf {path!r} in tree {tree}: it is another generation's"
        raise MessageError(message)
    return node, total


def _total(leaves: Leaves, rest: list[Any]) -> Matrix:
    if not leaves.classification:
        mean, count = rest
        return np.array([_number(count, least=0.0), _number(mean)])
    (counts,) = rest
    total = np.zeros(leaves.totals.shape[1])
    for code, count in counts.items():
        if not (code.isdecimal() and int(code) < len(total)):
            message = f"there is no class {code!r}"
            raise ValueError(message)
        total[int(code)] = _number(count, least=0.0)
    if not total.any():
        message = "it counts no example"
        raise ValueError(message)
    return total


def _number(value: object, least: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < least:
        message = f"{value!r} is not a number of at least {least}"
        raise ValueError(message)
    return float(value)


def _whole(number: float) -> float:
    """Write 3.0 as 3: counts are whole as long as the forest's own are."""
    return int(number) if number.is_integer() else number
