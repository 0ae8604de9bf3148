"""Numbers as callers give them, within what rows and SQL can hold."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from reactor.clock import days
from reactor.columns import INT64_MAX, INT64_MIN
from reactor.errors import SenderError

Whole = Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)]
"""A whole number of 64 bits: for the fields of structs that callers fill. JSON has larger ones, no column has."""

DAYS_MAX = 1_000_000.0
"""More days than this are as many: nothing is that old."""


def days_us(given: float) -> int:
    """So many days in µs; ``SenderError`` ``bad_arguments`` naming ``days`` for a negative number or none."""
    if not 0 <= given < float("inf"):
        raise SenderError("bad_arguments", "parameter days: a number of days from 0 up", parameter="days")
    return days(min(given, DAYS_MAX))
