"""A few rows that everybody watches."""

from __future__ import annotations

from typing import Any

from reactor import Context, Module, primary_key

ROWS = 10

crowd = module = Module("crowd")


@crowd.table(public=True)
class Hot:
    """A monster in the middle of a fight."""

    id: int = primary_key()
    zone: int
    name: str
    hp: int
    x: float
    y: float


def row_values(number: int, step: int) -> list[Any]:
    """A row as it is after ``step`` blows, in the order of the columns."""
    return [number, 3, "the old boss of the cave", 1_000_000 - step, 12.5, 99.25]


@crowd.init
def enter(ctx: Context) -> None:
    """Fill the table."""
    columns = ("id", "zone", "name", "hp", "x", "y")
    for number in range(1, ROWS + 1):
        ctx.db.hot.insert(**dict(zip(columns, row_values(number, 0), strict=True)))


def _poke(ctx: Context, rows: int) -> None:
    hot = ctx.db.hot
    for number in range(1, rows + 1):
        row = hot.require(number)
        hot.update(row, hp=row.hp - 1)


@crowd.reducer
def poke_one(ctx: Context) -> None:
    """Change one row."""
    _poke(ctx, 1)


@crowd.reducer
def poke_ten(ctx: Context) -> None:
    """Change all rows in one commit."""
    _poke(ctx, ROWS)
