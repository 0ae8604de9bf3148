"""Where a page ended, as an opaque text. The next page begins after it, whatever was inserted meanwhile."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

import orjson

from reactor.columns import INT64_MAX, INT64_MIN
from reactor.errors import SenderError

_FORMAT = 1


class Cursor(NamedTuple):
    """The last workflow of a page, and the filter (its fingerprint) that the page was of."""

    created_at: int
    id: int
    filter: str

    def encoded(self) -> str:
        """The text that clients send back."""
        return base64.urlsafe_b64encode(orjson.dumps([_FORMAT, *self])).rstrip(b"=").decode()


def read_cursor(text: str, fingerprint: str) -> Cursor:
    """The cursor; ``SenderError`` ``bad_arguments`` for a text that is none, or one of another filter."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        version, created_at, id, of = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if version != _FORMAT or type(created_at) is not int or type(id) is not int or not isinstance(of, str):
            raise ValueError(text)
        if not (INT64_MIN <= created_at <= INT64_MAX and INT64_MIN <= id <= INT64_MAX):
            raise ValueError(text)
    except (ValueError, TypeError, binascii.Error):
        raise _bad("it is none that this server gave; leave it out to begin again") from None
    if of != fingerprint:
        raise _bad("it belongs to another filter; a page goes on under the filter that it began with")
    return Cursor(created_at, id, of)


def _bad(reason: str) -> SenderError:
    return SenderError("bad_arguments", f"parameter cursor: {reason}", parameter="cursor")
