"""Which server, database and token a command means: flag before environment before discovery.

The owner's token lies in the data directory. It is only ever sent to this machine: a directory that happens to have
the right name must not hand its secret to somebody else's server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reactor.cli.doors import Door
from reactor.cli.exits import FAILED, USAGE
from reactor.cli.failures import CliError

DEFAULT_SERVER = "http://127.0.0.1:3000"
DEFAULT_DATA = Path("data")
OWNER_TOKEN_FILE = "owner.token"

SERVER_VARIABLE = "REACTOR_SERVER"
DATABASE_VARIABLE = "REACTOR_DATABASE"
TOKEN_VARIABLE = "REACTOR_TOKEN"
DATA_DIR_VARIABLE = "REACTOR_DATA_DIR"


@dataclass(frozen=True)
class Wanted:
    """What the flags say; None where there was none."""

    server: str | None = None
    database: str | None = None
    token: str | None = None
    data_dir: Path | None = None


@dataclass(frozen=True)
class Target:
    """Whom to ask: the door with the token to present, and the database's name."""

    door: Door
    database: str


def resolve(wanted: Wanted, environment: Mapping[str, str], timeout_s: float | None = 60.0) -> Target:
    """Find out what a command means; asks the server for its database when nobody named one."""
    door = Door(wanted.server or environment.get(SERVER_VARIABLE) or DEFAULT_SERVER, timeout_s=timeout_s)
    database = wanted.database or environment.get(DATABASE_VARIABLE) or _only_database(door)
    door.token = _token(wanted, environment, door, database)
    return Target(door, database)


def data_directory(flag: Path | None, environment: Mapping[str, str], database: str) -> Path:
    """Where the data of a database lie."""
    named = environment.get(DATA_DIR_VARIABLE)
    return flag or (Path(named) if named else DEFAULT_DATA / database)


def _only_database(door: Door) -> str:
    served = door.ask("GET", "/v1/database").json()
    names = served.get("databases") if isinstance(served, dict) else None
    if not isinstance(names, list) or not names:
        raise CliError(FAILED, f"{door.url} does not say which databases it serves; name one with --database")
    if len(names) > 1:
        raise CliError(USAGE, f"{door.url} serves {', '.join(map(str, names))}; choose one with --database")
    return str(names[0])


def _token(wanted: Wanted, environment: Mapping[str, str], door: Door, database: str) -> str | None:
    if wanted.token:
        return wanted.token
    if wanted.data_dir is not None:
        if not door.is_local:
            raise CliError(USAGE, f"{door.url} is not this machine, so --data-dir is not its own; use --token")
        return _owner_token(wanted.data_dir, required=True)
    if environment.get(TOKEN_VARIABLE):
        return environment[TOKEN_VARIABLE]
    if not door.is_local:
        return None
    return _owner_token(data_directory(None, environment, database), required=False)


def _owner_token(directory: Path, *, required: bool) -> str | None:
    try:
        return (directory / OWNER_TOKEN_FILE).read_text().strip() or None
    except OSError as error:
        if not required:
            return None
        raise CliError(USAGE, f"--data-dir {directory} has no owner's token to read: {error.strerror}") from None
