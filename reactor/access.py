"""Who is asking: tokens and identities.

A token is a secret text of 32 to 256 visible characters. The identity it stands for is a digest of it, so presenting
the same token again, after a reconnect or on another door, is being the same caller; nobody can work back from an
identity to its token. The owner's token lies in the data directory, readable by its user alone.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from urllib.parse import parse_qs

from reactor.errors import SenderError
from reactor.messages import Caller

_TOKEN = re.compile(r"[\x21-\x7e]{32,256}\Z")


def identity_of(token: str) -> str:
    """The identity (32 hex digits) that a token stands for; ``SenderError`` ``unauthorized`` if it is no token."""
    if not _TOKEN.match(token):
        raise SenderError("unauthorized", "a token is 32 to 256 visible characters; leave it out to be given one")
    return hashlib.sha256(b"entity-reactor identity\0" + token.encode()).hexdigest()[:32]


class Access:
    """Knows the owner. ``caller`` turns a token into who is asking."""

    def __init__(self, owner_token: str) -> None:
        self.owner_identity = identity_of(owner_token)

    def caller(self, token: str, connection_id: str | None = None) -> Caller:
        """The caller behind a token; raises as ``identity_of``."""
        identity = identity_of(token)
        return Caller(identity, connection_id, hmac.compare_digest(identity, self.owner_identity))


def presented_token(authorization: str | None, query: str) -> str | None:
    """The token of a request: the ``Authorization: Bearer`` header, else the ``token`` parameter, else None.

    Raises ``SenderError`` ``unauthorized`` for a header that is not ``Bearer``.
    """
    if authorization:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise SenderError("unauthorized", "the Authorization header is `Bearer <token>`")
        return token.strip()
    return parse_qs(query).get("token", [None])[0]
