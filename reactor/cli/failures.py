"""What a command stops with."""

from __future__ import annotations

from typing import Any, TextIO

from reactor.cli.exits import exit_of_code
from reactor.errors import ReactorError


class CliError(Exception):
    """Ends a command: one line for people, an exit code for scripts, and ``details`` below the line."""

    def __init__(self, exit_code: int, message: str, *, code: str | None = None, details: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.message = message
        self.code = code
        self.details = details

    @classmethod
    def of(cls, error: ReactorError) -> CliError:
        """The end of a command that one of the reactor's own errors stopped."""
        details = error.details.get("traceback", "")
        return cls(exit_of_code(error.code), error.message, code=error.code, details=str(details))

    @classmethod
    def of_json(cls, body: dict[str, Any]) -> CliError:
        """The same from the ``error`` of a server's answer."""
        code = str(body.get("code", "internal"))
        return cls(exit_of_code(code), str(body.get("message", "")), code=code)

    def show(self, stream: TextIO) -> None:
        """Print it: ``reactor: code: sentence``."""
        if self.details:
            print(self.details.rstrip(), file=stream)
        print(": ".join(filter(None, ("reactor", self.code, self.message))), file=stream)
