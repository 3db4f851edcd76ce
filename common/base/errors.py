"""Errors whose reason programs can read as well as people."""

from __future__ import annotations

from typing import ClassVar


class CodedError(Exception):
    """An error with a code.

    Parameters
    ----------
    text : str
        The reason, for people.
    code : str, optional
        The reason, for programs, as the dead-letter topic has it.
    """

    #: Where none is given.
    CODE: ClassVar[str]

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.code = code or self.CODE
