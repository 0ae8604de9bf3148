"""The client of Entity Reactor: calls, live subscriptions and a local mirror over one WebSocket.

``client.aio.connect`` is for ``asyncio``, ``client.blocking.connect`` for plain scripts; ``client.core.ClientCore`` is
the protocol without a socket. This package uses nothing of the server and can be installed without it.
"""

from client.backoff import Backoff
from client.errors import (
    BadRequest,
    CallFailed,
    ClientError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConstraintFailed,
    Forbidden,
    ProtocolViolation,
    SenderMistake,
    ServerFault,
    Unavailable,
    Unknown,
)
from client.face import Commit, ServerTime, State, StateChange
from client.listeners import Change
from client.messages import SqlResult
from client.mirror import Mirror, TableMirror
from client.progress import ClockEstimate, clock_value_us, elapsed_share, remaining_us
from client.rows import Row
from client.worker import Fatal, Hand, Retry, Task, Worker

__all__ = [
    "Backoff",
    "BadRequest",
    "CallFailed",
    "Change",
    "ClientError",
    "ClockEstimate",
    "Commit",
    "ConnectFailed",
    "ConnectionClosed",
    "ConnectionLost",
    "ConstraintFailed",
    "Fatal",
    "Forbidden",
    "Hand",
    "Mirror",
    "ProtocolViolation",
    "Retry",
    "Row",
    "SenderMistake",
    "ServerFault",
    "ServerTime",
    "SqlResult",
    "State",
    "StateChange",
    "TableMirror",
    "Task",
    "Unavailable",
    "Unknown",
    "Worker",
    "clock_value_us",
    "elapsed_share",
    "remaining_us",
]
