"""Errors that a user can act on."""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_UNAVAILABLE = 69


class UserError(Exception):
    """Something expected went wrong; shown without a traceback.

    Parameters
    ----------
    message
        What happened, in one sentence.
    remedy
        What the user can do about it, or an empty string.
    exit_code
        Exit code of the process.
    """

    def __init__(self, message: str, remedy: str = "", exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message
