"""The command line, ``reactor``. ``docs/cli.md`` describes it for users.

exits       what the process's exit code means
failures    what a command stops with
target      which server, database and token a command means
doors       HTTP to that server
output      values as tables, NDJSON and JSON
settling    the options that every command has
running     ``run``
asking      ``sql``, ``call``, ``logs``, ``describe``, ``version``
watching    ``subscribe``
checking    ``check``
listing     ``workflows``
backfilling ``backfill-visibility``
reloading   ``reload``, ``type``
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from reactor.cli.exits import INTERRUPTED, OK
from reactor.cli.failures import CliError


def main() -> NoReturn:
    """Run the command of ``sys.argv``; exits with a code of ``reactor.cli.exits.EXITS``."""
    sys.exit(_run())


def _run() -> int:
    # Imported here, so that a broken pipe or an interrupt during the imports ends as quietly as one later.
    try:
        from reactor.cli.app import app

        status = app(standalone_mode=False, prog_name="reactor")
        sys.stdout.flush()
        return status if isinstance(status, int) else OK
    except CliError as error:
        error.show(sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output had enough of it. The interpreter flushes once more at exit: let it go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        shown = usage_exit(error)
        if shown is None:
            raise
        return shown


def usage_exit(error: Exception) -> int | None:
    """Show a mistake in the command line itself and return its exit code; None if ``error`` is something else."""
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if isinstance(code, int):
        if callable(show):
            show()
        return code
    return None
