"""The table that the samples' steps write to."""

from __future__ import annotations

from reactor.context import Context
from reactor.schema import declare_table, primary_key


class Note:
    """One line."""

    id: int = primary_key(auto=True)
    text: str


NOTE_SCHEMA = declare_table(Note, name="note", public=True)


def note(ctx: Context, text: str) -> int:
    """Write a line and return its number."""
    return int(ctx.db.note.insert(text=text).id)
