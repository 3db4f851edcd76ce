"""The console page: one form for each endpoint, and the reply beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Form:
    """One row of the console.

    Attributes
    ----------
    label : str
        What the row is called.
    path : str
        The request's path under the context path; each ``{name}`` becomes a text field whose
        value is percent-encoded as one segment.  A name with ``=`` in it, ``{item=value}``,
        takes ``id=value``.
    method : str
        HTTP method.
    query : tuple of str
        Names of the query parameters that get a field; empty fields are not sent.
    body : str or None
        What the body's field says while it is empty; None where there is no body.
    upload : bool
        Whether a file can be sent in the body's place.
    """

    label: str
    path: str
    method: Literal["GET", "POST", "DELETE"] = "GET"
    query: tuple[str, ...] = ()
    body: str | None = None
    upload: bool = False

    @property
    def fields(self) -> list[str]:
        """Names of the path's fields, in order."""
        return re.findall(r"{([^}]*)}", self.path)
