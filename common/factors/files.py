"""Writes files of factors, and reads them by mapping.

Processes with the same generation share its memory, except for the vectors that have changed
since.  A file is in the format safetensors, with these arrays:

=====================  ===========  ==========================================================
``factors``            float32      shape (n, k)
``ids``                bytes        the ids in UTF-8, concatenated
``id_offsets``         int32        shape (n + 1,): where each id begins, and the end
``known_items``        int32        only for users, and optional: row numbers in the file of
                                    the items, concatenated
``known_item_offsets`` int32        shape (n + 1,): where each user's rows begin, and the end
=====================  ===========  ==========================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from common.factors.columns import Lists, Texts
from common.factors.matrix import all_finite
from common.store.generations import StoreError
from common.store.tensors import TensorFile

if TYPE_CHECKING:
    import pyarrow as pa

#: Names of a generation's files.
USER_FACTORS = "user_factors.safetensors"
ITEM_FACTORS = "item_factors.safetensors"


@dataclass(frozen=True)
class StoredFactors:
    """One side of a factorisation, read from a file.

    Attributes
    ----------
    id_column : Texts
        Ids in row order, in the mapped file.
    vectors : ndarray, shape (len(ids) + room, n_factors)
        Writeable, so that a :class:`common.factors.matrix.FactorMatrix` can use it directly.
    known_items : Lists or None
        For each user the row numbers of the known items in the items' file.
    """

    id_column: Texts
    vectors: NDArray[np.float32]
    known_items: Lists | None = None

    @cached_property
    def ids(self) -> list[str]:
        """Ids in row order."""
        return list(self.id_column)


def write_factors(
    path: Path,
    ids: Sequence[str] | pa.StringArray,
    vectors: NDArray[np.float32],
    known_items: pa.ListArray | None = None,
) -> None:
    """Write a file of factors.

    Parameters
    ----------
    path : Path
        The file; replaced if it exists.
    ids : sequence of str or StringArray
        Ids in row order.
    vectors : ndarray, shape (len(ids), n_factors)
        The vectors of `ids`.
    known_items : ListArray, optional
        As in :class:`StoredFactors`.
    """
    # Arrow takes 34 MB of a process that only reads, and only the batch layer writes.
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pa.array(ids, pa.string())
    text = pc.binary_join(pa.ListArray.from_arrays([0, len(column)], column), "")[0].as_buffer()
    arrays: dict[str, NDArray[Any]] = {
        "factors": np.ascontiguousarray(vectors, np.float32),
        "ids": np.frombuffer(text, np.uint8),
        "id_offsets": _offsets(pc.binary_length(column)),
    }
    if known_items is not None:
        arrays["known_items"] = known_items.flatten().to_numpy().astype(np.int32)
        arrays["known_item_offsets"] = _offsets(known_items.value_lengths())
    # Removing the old file keeps the mappings that other processes have of it valid.
    path.unlink(missing_ok=True)
    save_file(arrays, path)


def read_factors(path: Path, with_known_items: bool = True, room: float = 0.0) -> StoredFactors:
    """Map a file that :func:`write_factors` wrote.

    The file may be removed afterwards, but must not be written to.  Writes to the vectors
    change a copy in memory.

    Parameters
    ----------
    path : Path
        The file.
    with_known_items : bool
        Whether to read the known items.
    room : float
        Number of further vectors to reserve memory for, as a share of those in the file, so that
        appending does not copy all vectors.

    Raises
    ------
    StoreError
        If the file is not a file of factors, or a factor is not finite.
    """
    try:
        file = TensorFile(path)
        ids = Texts(file.array("id_offsets", np.int32), file.array("ids", np.uint8).data)
        n_room = math.ceil(room * len(ids))
        vectors = file.rows("factors", n_room)
        known_items = _known_items(file) if with_known_items else None
    except (OSError, ValueError) as error:
        message = f"{path}: not a file of factors: {error}"
        raise StoreError(message) from error
    n_rows = {len(ids), len(vectors) - n_room, len(ids if known_items is None else known_items)}
    if len(n_rows) > 1:
        message = f"{path}: ids, vectors and known items are of different numbers: {sorted(n_rows)}"
        raise StoreError(message)
    if not all_finite(vectors[: len(ids)]):
        message = f"{path}: a factor is not a finite number"
        raise StoreError(message)
    return StoredFactors(ids, vectors, known_items)


def _known_items(file: TensorFile) -> Lists | None:
    if "known_items" not in file:
        return None
    return Lists(file.array("known_item_offsets", np.int32), file.array("known_items", np.int32))


def _offsets(lengths: pa.Array) -> NDArray[np.int32]:
    """Return the offsets of concatenated values with these lengths, shape (n + 1,)."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths.to_numpy(), out=offsets[1:])
    return offsets
