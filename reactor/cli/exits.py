"""The exit codes of every command, and which error leads to which. ``docs/cli.md`` prints both; a test compares."""

from __future__ import annotations

from reactor.errors import CODES

OK = 0
FAILED = 1
USAGE = 2
NETWORK = 3
AUTH = 4
NOT_FOUND = 5
SERVER = 6
TIMEOUT = 7
INCOMPATIBLE = 8
NEEDS_MIGRATION = 9
UNSAFE = 10
INTERRUPTED = 130

EXITS: dict[int, str] = {
    OK: "Done.",
    FAILED: "It could not be done; when `run` says so, nothing was started.",
    USAGE: "The command line or the request is wrong.",
    NETWORK: "The server cannot be reached.",
    AUTH: "This token may not do that.",
    NOT_FOUND: "There is no such database, reducer or row.",
    SERVER: "The server or the module's code failed, or the server cannot serve now.",
    TIMEOUT: "It took longer than allowed.",
    INCOMPATIBLE: "The data, the module and this version do not fit together.",
    NEEDS_MIGRATION: "`check`: this version goes on with the data, and brings them to it as it meets them.",
    UNSAFE: "`check`: this version does not start with the data, or some of them would not go on.",
    INTERRUPTED: "Ended by Ctrl-C before it was done.",
}

_BY_CODE = {
    "sql_deadline": TIMEOUT,
    "schema_conflict": INCOMPATIBLE,
    "restart_needed": INCOMPATIBLE,
    "data_version": INCOMPATIBLE,
    "unregistered_types": INCOMPATIBLE,
    "bad_declaration": FAILED,
    "module_failed": FAILED,
    "address_in_use": FAILED,
    "data_in_use": FAILED,
    "data_damaged": FAILED,
    "storage_unsafe": FAILED,
}
_BY_STATUS = {401: AUTH, 403: AUTH, 404: NOT_FOUND, 408: TIMEOUT}


def exit_of_status(status: int) -> int:
    """The exit code for an HTTP status that came without a code of ours."""
    if status < 400:
        return OK
    return _BY_STATUS.get(status, SERVER if status >= 500 else USAGE)


def exit_of_code(code: str) -> int:
    """The exit code for an error code; one that this version does not know counts as a failure."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    return exit_of_status(CODES[code][0]) if code in CODES else FAILED
