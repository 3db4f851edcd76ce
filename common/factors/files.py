"""Files of factors, which stay mapped.

Processes that hold the same generation share its memory, but for the vectors that have changed
since.  A file is one of safetensors with these arrays:

=====================  ===========  ==========================================================
``factors``            float32      shape (n, k)
``ids``                bytes        the ids in UTF-8, side by side
``id_offsets``         int32        shape (n + 1,): where each begins, and the end
``known_items``        int32        of users, who need not have any: rows in the file of the
                                    items, user after user
``known_item_offsets`` int32        shape (n + 1,): as of the ids
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

#: A generation's files.
USER_FACTORS = "user_factors.safetensors"
ITEM_FACTORS = "item_factors.safetensors"


@dataclass(frozen=True)
class StoredFactors:
    """One side of a factorisation as it lies in a file.

    Attributes
    ----------
    id_column : Texts
        Ids in row order, where they lie in the file.
    vectors : ndarray, shape (len(ids) and the room asked for, n_factors)
        Writeable, so that a :class:`common.factors.matrix.FactorMatrix` can take it over.
    known_items : Lists or None
        For each user the row numbers of the known items in the file of the items.
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
        Their vectors.
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
    # A process that has mapped the old file keeps it.
    path.unlink(missing_ok=True)
    save_file(arrays, path)


def read_factors(path: Path, with_known_items: bool = True, room: float = 0.0) -> StoredFactors:
    """Read a file of :func:`write_factors`.

    The file may be removed afterwards, but not written: it stays mapped.  Whoever writes to the
    vectors changes a copy in memory.

    Parameters
    ----------
    path : Path
        The file.
    with_known_items : bool
        Whether to read the known items.
    room : float
        For how many more vectors there is to be room, as a share of those in the file: so that
        they can be appended without copying all.

    Raises
    ------
    StoreError
        If it is not such a file, or holds a number that is not finite.
    """
    try:
        file = TensorFile(path)
        ids = Texts(file.array("id_offsets", np.int32), file.array("ids", np.uint8).data)
        more = math.ceil(room * len(ids))
        vectors = file.rows("factors", more)
        known = _known_items(file) if with_known_items else None
    except (OSError, ValueError) as error:
        message = f"{path}: not a file of factors: {error}"
        raise StoreError(message) from error
    n_rows = {len(ids), len(vectors) - more, len(ids if known is None else known)}
    if len(n_rows) > 1:
        message = f"{path}: ids, vectors and known items are of different numbers: {sorted(n_rows)}"
        raise StoreError(message)
    if not all_finite(vectors[: len(ids)]):
        message = f"{path}: a factor is not a finite number"
        raise StoreError(message)
    return StoredFactors(ids, vectors, known)


def _known_items(file: TensorFile) -> Lists | None:
    if "known_items" not in file:
        return None
    return Lists(file.array("known_item_offsets", np.int32), file.array("known_items", np.int32))


def _offsets(lengths: pa.Array) -> NDArray[np.int32]:
    """Return where each of some values begins that lie side by side, and where the last ends."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths.to_numpy(), out=offsets[1:])
    return offsets
