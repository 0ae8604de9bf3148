"""``reactor.storage.records``."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reactor.storage.records import checksum


@given(st.binary(min_size=1, max_size=200), st.integers(0, 1 << 40), st.integers(0, 1599))
def test_every_flipped_bit_changes_the_checksum(payload: bytes, first_seq: int, bit: int) -> None:
    """P6: one flipped bit is always seen."""
    whole = checksum(first_seq, first_seq, 5, 1, payload)
    damaged = bytearray(payload)
    damaged[bit // 8 % len(payload)] ^= 1 << bit % 8
    assert checksum(first_seq, first_seq, 5, 1, bytes(damaged)) != whole
    assert checksum(first_seq ^ (1 << bit % 40), first_seq, 5, 1, payload) != whole
