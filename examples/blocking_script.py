"""The client without ``await``, for scripts and notebooks. It talks to ``counter.py``:

    reactor run examples/counter.py
    python -m examples.blocking_script                      # in another terminal, as often as you like

The mirror changes, and callbacks run, inside ``poll`` and inside every method that waits; at no other time.
"""

from __future__ import annotations

import sys

from client import CallFailed, Row
from client.blocking import connect


def visit(url: str) -> int:
    """Count to a hundred in several ways; returns what the counter shows."""
    with connect(url, "counter") as counters:
        changes: list[str] = []

        def changed(old: Row, new: Row) -> None:
            changes.append(f"{new.name} {old.value} -> {new.value}")

        counters.subscribe("SELECT * FROM counter WHERE name IN ('visits', 'spare')", on_update=changed)
        before = int(counters.call("add", "visits", 1)) - 1
        print("one call, and the mirror shows it:", counters.table("counter").get("visits"))

        # Many at once: they travel together and share their disk syncs.
        replies = [counters.post("add", "visits", 1) for _ in range(97)]
        print("many calls, the last says", [reply.result() for reply in replies][-1])

        # Both or neither, in one commit.
        counters.batch([("add", ["visits", 2]), ("add", ["spare", 5])])

        try:
            counters.call("move", "spare", "visits", 1_000_000)
        except CallFailed as error:
            print(f"refused: {error.code}, {error.message}, {error.details['missing']} missing")

        # With a key it is safe to send again, also by a later run of this script that presents the same token.
        counters.call("add", "spare", -5, key="give back")
        counters.poll()  # nothing to wait for here: a script that only listens loops over ``poll(timeout_s=1.0)``
        print(f"{len(changes)} updates were seen, the last: {changes[-1]}")

        result = counters.sql("SELECT value FROM counter WHERE name = ?", ["visits"])
        print(result.columns, result.rows)
        return int(result.rows[0][0]) - before


if __name__ == "__main__":
    visit(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:3000")
