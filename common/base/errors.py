"""Errors that carry a machine-readable code beside their text."""

from __future__ import annotations

from typing import ClassVar


class CodedError(Exception):
    """An error with a code.

    Parameters
    ----------
    text : str
        The reason, in words.
    code : str, optional
        The reason for programs, as written to the dead-letter topic; `CODE` by default.
    """

    #: The code of an error that is raised without one.
    CODE: ClassVar[str]

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.code = code or self.CODE
