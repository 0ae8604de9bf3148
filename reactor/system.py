"""The reactor's own tables: ordinary tables, declared like any game's."""

from __future__ import annotations

from reactor.columns import Timestamp
from reactor.context import Context
from reactor.module import Module
from reactor.schema import declare_table, primary_key
from reactor.scopes import CLOCK_SCHEMA
from reactor.store import SEQUENCE_SCHEMA

REQUEST_TABLE = "reactor_request"
CONNECTION_TABLE = "reactor_connection"
TIMER_ERROR_TABLE = "timer_error"
SEED_TABLE = "reactor_seed"


class _Request:
    """An idempotency key that was used, and what was answered. ``id`` is ``identity|key``."""

    id: str = primary_key()
    fingerprint: str
    answer: str
    created_at: Timestamp


class _Seed:
    """What every stream of chance of this database begins with. Never told to clients: they could foresee each roll."""

    id: int = primary_key()
    value: str


class _Connection:
    """A client that is connected, where a module asks to be told when it goes, of all clients or of this one."""

    connection_id: str = primary_key()
    identity: str
    connected_at: Timestamp


class _TimerError:
    """A scheduled reducer that raised. Its timer counts as fired; what it did was undone."""

    id: int = primary_key(auto=True)
    table_name: str
    scheduled_id: int
    due_at: Timestamp
    fired_at: Timestamp
    message: str


system = Module("reactor")
system.add_table(SEQUENCE_SCHEMA)
system.add_table(CLOCK_SCHEMA)
system.add_table(declare_table(_Seed, name=SEED_TABLE))
system.add_table(declare_table(_Request, name=REQUEST_TABLE))
system.add_table(declare_table(_Connection, name=CONNECTION_TABLE))
system.add_table(declare_table(_TimerError, name=TIMER_ERROR_TABLE))


def watch_connection(ctx: Context) -> None:
    """Have the ``client_gone`` hooks run when the connection of this call ends, also if a crash cuts it off.

    Nothing happens for a call that came by no connection.
    """
    connections = ctx.db.reactor_connection
    if ctx.connection_id is not None and ctx.connection_id not in connections:
        connections.insert(connection_id=ctx.connection_id, identity=ctx.sender, connected_at=ctx.now)
