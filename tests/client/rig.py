"""A core and a model server, joined without a socket, and a shadow kept by callbacks alone."""

from __future__ import annotations

import json
from typing import Any

from client.core import ClientCore
from client.listeners import Change, Listeners
from client.messages import CommitApplied, Event, Restored, SetApplied, SetClosed
from client.mirror import View
from client.rows import Row
from tests.client.modelserver import ModelServer, ModelSession

ZONE_0 = "SELECT * FROM monster WHERE zone = 0"
ZONE_1 = "SELECT * FROM monster WHERE zone = 1"
ALL = "SELECT * FROM monster"


class Shadow:
    """The rows as somebody sees them who only listens to callbacks; a wrong callback fails at once."""

    def __init__(self, listeners: Listeners) -> None:
        self.rows: dict[tuple[str, Any], Row] = {}
        self.log: list[str] = []
        listeners.on_insert(self.inserted)
        listeners.on_update(self.updated)
        listeners.on_delete(self.deleted)

    def inserted(self, row: Row) -> None:
        """Only rows that were not there may come."""
        key = (row._table, row[0])
        assert key not in self.rows, f"{row} was inserted twice"
        self.rows[key] = row
        self.log.append(f"+{row[0]}")

    def updated(self, old: Row, new: Row) -> None:
        """Only rows that are there, and really differ, may change."""
        key = (new._table, new[0])
        assert self.rows[key] == old
        assert old != new
        self.rows[key] = new
        self.log.append(f"~{new[0]}")

    def deleted(self, old: Row) -> None:
        """Only rows that are there may leave."""
        assert self.rows.pop((old._table, old[0])) == old
        self.log.append(f"-{old[0]}")


def fail_hook(error: Exception, callback: object) -> None:
    """In these tests no callback may raise."""
    raise AssertionError(f"{callback} raised") from error


class Rig:
    """Moves messages between a ``ClientCore`` and a ``ModelSession`` and runs the callbacks."""

    def __init__(self, server: ModelServer | None = None) -> None:
        self.server = server or ModelServer()
        self.core = ClientCore()
        self.session: ModelSession | None = None
        self.events: list[Event] = []
        self.errors: list[Exception] = []

    def connect(self) -> None:
        """Open a connection; nothing has been delivered yet."""
        assert self.session is None
        self.core.connection_made()
        self.session = self.server.connect()

    def disconnect(self) -> None:
        """The connection breaks; what was under way is lost."""
        assert self.session is not None
        self.server.sessions.remove(self.session)
        self.session = None
        self.take(self.core.connection_lost())

    def deliver_one(self) -> bool:
        """Hand one frame of the server to the client."""
        if self.session is None or not self.session.out:
            return False
        self.take(self.core.receive(self.session.out.pop(0)))
        return True

    def send(self) -> None:
        """Hand what the client sends to the server."""
        for message in self.core.bytes_to_send():
            assert self.session is not None
            self.session.receive(message)

    def settle(self) -> None:
        """Move messages both ways until there are none."""
        if self.session is not None:
            self.session.release_answers()
        self.send()
        while self.deliver_one():
            self.send()

    def take(self, events: list[Event]) -> None:
        """Note events and run their callbacks as a face does."""
        for event in events:
            self.events.append(event)
            if isinstance(event, CommitApplied | Restored | SetApplied | SetClosed):
                self.core.mirror.tell(event.applied, lambda error, _: self.errors.append(error))
        assert not self.errors, self.errors

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def subscribe(self, *queries: str) -> tuple[int, View]:
        """Subscribe and settle."""
        view = View(self.core.mirror)
        set_id = self.core.subscribe(queries, view)
        self.settle()
        return set_id, view

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """The mirror's rows of a table as plain tuples, by key."""
        return sorted(tuple(row) for row in self.core.mirror.table(table))


def connected() -> Rig:
    """A rig that has exchanged greetings."""
    rig = Rig()
    rig.connect()
    rig.settle()
    return rig


def plain(changes: list[Change]) -> list[tuple[Any, Any]]:
    """Changes as pairs of plain tuples."""
    return [(c.old and tuple(c.old), c.new and tuple(c.new)) for c in changes]


def sent(core: ClientCore) -> list[Any]:
    """What the core wants sent, as values."""
    return [json.loads(message) for message in core.bytes_to_send()]
