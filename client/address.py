"""Where the server is, how to knock, and what its refusal means. No sockets are opened here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

import orjson
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from client.errors import ConnectFailed
from client.messages import CLOSE_CODES, FINAL_CLOSE_CODES, SUBPROTOCOL

MESSAGE_BYTES_MAX = 256 << 20
"""Longest frame taken from the server: a snapshot of 250,000 rows of 1 KB fits."""

FRAMES_AHEAD_MAX = 1024
"""Frames read from the socket before they are looked at; past it the socket is left alone for a while."""

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


def subscribe_url(url: str, database: str) -> str:
    """``http(s)://`` or ``ws(s)://`` host and port, to the address of the database. Raises ``ConnectFailed``."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise ConnectFailed(f"{url!r} is not an address like ws://127.0.0.1:3000", fatal=True)
    path = f"{parts.path.rstrip('/')}/v1/database/{quote(database, safe='')}/subscribe"
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, "", ""))


def socket_options(token: str | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for either of the ``websockets`` clients; ``more`` has the last word.

    No compression: messages are small, and compressing costs the server more than the bytes are worth. No proxy
    from the environment: a game server next door is not to be reached through one unless it is asked for.
    """
    options: dict[str, Any] = {
        "subprotocols": [Subprotocol(SUBPROTOCOL)],
        "compression": None,
        "proxy": None,
        "max_size": MESSAGE_BYTES_MAX,
        "max_queue": FRAMES_AHEAD_MAX,
        "close_timeout": 2.0,
        **more,
    }
    if token is not None:
        options["additional_headers"] = {
            **dict(options.get("additional_headers") or {}),
            "Authorization": f"Bearer {token}",
        }
    return options


def connect_failure(error: Exception) -> ConnectFailed:
    """What an exception of the opening handshake means, with the server's own code if it sent one."""
    if isinstance(error, ConnectFailed):
        return error
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        code, message = _refusal(bytes(error.response.body or b""))
        fatal = status not in _PASSING_STATUSES
        return ConnectFailed(message or f"the server answered with status {status}", code=code, fatal=fatal)
    if isinstance(error, OSError | TimeoutError | EOFError):
        return ConnectFailed(f"the server cannot be reached: {error or type(error).__name__}")
    # A handshake that breaks off is a network failure; one that is answered wrongly will be again.
    fatal = isinstance(error, InvalidURI) or (
        isinstance(error, InvalidHandshake) and not isinstance(error.__cause__, EOFError)
    )
    return ConnectFailed(f"the connection could not be opened: {error}", fatal=fatal)


class Ending(NamedTuple):
    """How a connection ended, in words, and whether connecting again is pointless."""

    reason: str
    fatal: bool


def ending(error: ConnectionClosed) -> Ending:
    """What the exception of a closed socket means."""
    if error.rcvd is None:
        return Ending("the connection broke off", False)
    meaning = CLOSE_CODES.get(error.rcvd.code, "closed")
    said = f": {error.rcvd.reason}" if error.rcvd.reason else ""
    reason = f"the server closed the connection ({error.rcvd.code}, {meaning}{said})"
    return Ending(reason, error.rcvd.code in FINAL_CLOSE_CODES)


def _refusal(body: bytes) -> tuple[str | None, str | None]:
    try:
        error = orjson.loads(body)["error"]
        return str(error["code"]), str(error["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None, None
