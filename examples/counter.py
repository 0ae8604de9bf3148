"""A table, two reducers, and what an error does: a call happens whole or not at all.

    reactor run examples/counter.py
    reactor call add '["apples", 3]'
    reactor sql "SELECT * FROM counter"

``python -m examples.counter`` plays it without a server.
"""

from __future__ import annotations

from reactor import Context, Module, SenderError, primary_key
from reactor.testing import Rig

module = Module("counter")


@module.table(public=True)
class Counter:
    """A named number that never goes below zero."""

    name: str = primary_key()
    value: int = 0


@module.reducer
def add(ctx: Context, name: str, amount: int = 1) -> int:
    """Add to a counter, which exists from its first use; returns its new value."""
    counter = ctx.db.counter.get(name) or ctx.db.counter.insert(name=name)
    # Rows are frozen: ``update`` stores a changed copy and returns it.
    counter = ctx.db.counter.update(counter, value=counter.value + amount)
    if counter.value < 0:
        # The update above is undone with everything else this call did; the caller gets code and sentence.
        raise SenderError("sender_error", f"{name} would be {counter.value}", missing=-counter.value)
    return int(counter.value)


@module.reducer
def move(ctx: Context, source: str, target: str, amount: int) -> None:
    """Move an amount from one counter to another. Reducers may use each other: it stays one call."""
    add(ctx, target, amount)
    ctx.db.counter.require(source)  # ``not_found`` if there is none
    add(ctx, source, -amount)


def main() -> None:
    """Some calls that work, and some that leave nothing behind."""
    with Rig(module) as rig:
        print("apples:", rig.call("add", "apples", 3))
        rig.call("move", "apples", "pears", 1)
        for wrong in (
            ("move", "apples", "pears", 10),
            ("move", "plums", "pears", 1),
            ("add", "apples", "many"),
            ("subtract", "apples"),
        ):
            try:
                rig.call(*wrong)
            except SenderError as error:
                print(f"{error.code}: {error.message}")
        print("in the end:", {row.name: row.value for row in rig.rows("counter")})


if __name__ == "__main__":
    main()
