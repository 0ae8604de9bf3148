"""``reactor.access``: tokens, identities, the owner."""

from __future__ import annotations

import pytest

from reactor.access import Access, identity_of, presented_token
from reactor.errors import SenderError

TOKEN = "t" * 32


def test_the_same_token_is_the_same_caller() -> None:
    """And another token another; the identity does not tell the token."""
    assert identity_of(TOKEN) == identity_of(TOKEN)
    assert identity_of(TOKEN) != identity_of(TOKEN + "x")
    assert len(identity_of(TOKEN)) == 32
    int(identity_of(TOKEN), 16)
    assert TOKEN not in identity_of(TOKEN)


@pytest.mark.parametrize("token", ["", "short", "x" * 257, "a b" * 20, "é" * 40, "x" * 32 + "\n", "\0" * 40])
def test_what_is_no_token(token: str) -> None:
    """Refused, so that nobody guesses a short one."""
    with pytest.raises(SenderError) as caught:
        identity_of(token)
    assert caught.value.code == "unauthorized"


def test_the_owner_is_who_has_the_owners_token() -> None:
    """Everybody else is a client."""
    access = Access(TOKEN)
    assert access.caller(TOKEN, "c").is_owner
    assert access.caller(TOKEN, "c").connection_id == "c"
    other = access.caller("u" * 32)
    assert not other.is_owner
    assert other.identity == identity_of("u" * 32)


def test_where_a_token_comes_from() -> None:
    """The header wins over the query; a header that is not Bearer is refused rather than overlooked."""
    assert presented_token("Bearer abc", "token=def") == "abc"
    assert presented_token("bearer  abc ", "") == "abc"
    assert presented_token(None, "a=1&token=def") == "def"
    assert presented_token(None, "") is None
    assert presented_token("", "token=") is None
    for header in ("Basic abc", "Bearer", "Bearer "):
        with pytest.raises(SenderError, match="Bearer <token>"):
            presented_token(header, "")
