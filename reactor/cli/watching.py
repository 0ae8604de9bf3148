"""``reactor subscribe``: what matches some live queries, and every change of it, as NDJSON."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reactor.cli import settling
from reactor.cli.exits import NETWORK, TIMEOUT, exit_of_code
from reactor.cli.failures import CliError
from reactor.cli.output import print_json
from reactor.cli.target import Target, Wanted, resolve

if TYPE_CHECKING:
    from client.blocking import Connection
    from client.face import Commit, StateChange
    from client.listeners import Change

_POLL_S = 3600.0


def subscribe_command(
    queries: Annotated[list[str], typer.Argument(help="Live queries: SELECT * FROM table WHERE …", metavar="QUERY...")],
    num_updates: Annotated[
        int | None, typer.Option("--num-updates", "-n", min=0, help="End after so many commits.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", "-t", min=0.0, help="End after so many seconds.", metavar="SECONDS")
    ] = None,
    server: settling.Server = None,
    database: settling.Database = None,
    token: settling.Token = None,
    data_dir: settling.DataDir = None,
) -> None:
    """Print the rows of live queries, then every change of them, until Ctrl-C.

    One JSON object a line: {"event":"row"} for each row there is, {"event":"live"} once, then insert, update and
    delete with the row, its table and the commit's seq. A lost connection is made again and nothing is left out.
    """
    target = resolve(Wanted(server, database, token, data_dir), os.environ)
    watch = _Watch(num_updates, None if timeout is None else time.monotonic() + timeout)
    try:
        watch.run(target, queries)
    except KeyboardInterrupt:
        return


class _Watch:
    """Counts commits and time while it prints."""

    def __init__(self, commits_wanted: int | None, until_s: float | None) -> None:
        self._wanted = commits_wanted
        self._until_s = until_s
        self._printed = 0
        # Filled by the connection's callback, printed by us: what a callback raises would go to the client's log.
        self._commits: deque[Commit] = deque()

    def run(self, target: Target, queries: list[str]) -> None:
        """Connect, print what there is, then follow."""
        from client.blocking import connect
        from client.errors import CallFailed, ClientError, ConnectFailed

        try:
            with connect(target.door.url, target.database, target.door.token) as connection:
                connection.on_commit(self._commits.append)
                connection.on_state(_tell_state)
                self._follow(connection, queries)
        except CallFailed as error:
            raise CliError(exit_of_code(error.code), error.message, code=error.code) from None
        except ConnectFailed as error:
            exit_code = NETWORK if error.code is None else exit_of_code(error.code)
            raise CliError(exit_code, error.message, code=error.code) from None
        except ClientError as error:
            raise CliError(NETWORK, str(error)) from None
        except TimeoutError as error:
            raise CliError(TIMEOUT, str(error)) from None

    def _follow(self, connection: Connection, queries: list[str]) -> None:
        live_set = connection.subscribe(queries)
        for row in live_set.rows:
            print_json({"event": "row", "table": row._table, "row": row._asdict()})
        print_json({"event": "live", "seq": connection.seq})
        while not self._is_done():
            connection.poll(self._patience_s())
            while self._commits and not self._has_enough():
                self._print(self._commits.popleft())

    def _patience_s(self) -> float:
        return _POLL_S if self._until_s is None else max(0.0, min(_POLL_S, self._until_s - time.monotonic()))

    def _has_enough(self) -> bool:
        return self._wanted is not None and self._printed >= self._wanted

    def _is_done(self) -> bool:
        if self._has_enough():
            return True
        if self._until_s is None or time.monotonic() < self._until_s:
            return False
        if self._wanted is not None:
            raise CliError(TIMEOUT, f"{self._printed} of {self._wanted} updates came in time")
        return True

    def _print(self, commit: Commit) -> None:
        self._printed += 1
        for change in commit.changes:
            print_json(_shown(change, commit))


def _tell_state(change: StateChange) -> None:
    if change.state == "reconnecting":
        print(f"reactor: {change.reason}; connecting again", file=sys.stderr)


def _shown(change: Change, commit: Commit) -> dict[str, Any]:
    """A changed row as one event. What was missed while disconnected has no instant of its own: ``at`` is null."""
    when = {"seq": commit.seq, "at": commit.at_us}
    if change.new is None:
        event, rows = "delete", {"row": change.old._asdict() if change.old is not None else {}}
    elif change.old is None:
        event, rows = "insert", {"row": change.new._asdict()}
    else:
        event, rows = "update", {"row": change.new._asdict(), "old": change.old._asdict()}
    return {"event": event, "table": change.table, **rows, **when}
