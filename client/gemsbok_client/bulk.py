"""Converts iterables and DataFrames into batches of events or records."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from gemsbok_client.errors import UnsendableError
from gemsbok_client.results import Event

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import TypeIs

    #: Records of features, or events, in any of their forms.
    Records: TypeAlias = Iterable[Mapping[str, Any]] | Iterable[Sequence[Any]] | pd.DataFrame

V = TypeVar("V")

#: A fast level.
COMPRESS_LEVEL = 3


class Progress(Protocol):
    """A progress bar."""

    def update(self, n: int) -> object:
        """Add `n` written events."""


class _Silent:
    def update(self, n: int) -> None:
        """Do nothing."""


def objects(values: Iterable[Event] | Records) -> Iterator[Mapping[str, Any] | Sequence[Any]]:
    """Yield events or records in the form of the server's JSON.

    Parameters
    ----------
    values : iterable of Event, mapping or sequence, or DataFrame
        A DataFrame's columns are the names; missing cells are left out.
    """
    if _is_frame(values):
        yield from _rows(values)
        return
    for value in values:
        yield value.to_json() if isinstance(value, Event) else value


def _is_frame(values: Iterable[Event] | Records) -> TypeIs[pd.DataFrame]:
    """Return whether the values are a DataFrame, without importing pandas."""
    return hasattr(values, "itertuples")


def _rows(frame: pd.DataFrame) -> Iterator[Mapping[str, Any]]:
    names = [str(name) for name in frame.columns]
    presence = frame.notna().to_numpy()
    columns = [frame[name].tolist() for name in frame.columns]
    for cells, is_present in zip(zip(*columns, strict=True), presence, strict=True):
        yield {
            name: cell
            for name, cell, present in zip(names, cells, is_present, strict=True)
            if present
        }


def batches(values: Iterable[V], size: int) -> Iterator[list[V]]:
    """Yield the values in lists of `size`; the last list may be shorter."""
    rest = iter(values)
    while batch := list(itertools.islice(rest, size)):
        yield batch


def body(document: Mapping[str, Any]) -> bytes:
    """Return a document as gzip-compressed JSON, for a request's body.

    Raises
    ------
    UnsendableError
        If JSON cannot represent a value, such as NaN or a date.
    """
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        return gzip.compress(text.encode(), COMPRESS_LEVEL, mtime=0)
    except (TypeError, ValueError) as error:
        message = f"a value cannot be sent as JSON: {error}"
        raise UnsendableError(message) from error


def progress_bar(wanted: bool, total: int | None) -> AbstractContextManager[Progress]:
    """Return a progress bar, which is silent unless `wanted`.

    Raises
    ------
    ImportError
        If a bar is wanted and tqdm is not installed.
    """
    if not wanted:
        return nullcontext(_Silent())
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        message = "progress needs tqdm: pip install tqdm"
        raise ImportError(message) from error
    bar: AbstractContextManager[Progress] = tqdm(total=total, unit="events")
    return bar
