"""The table of what the types were when a start or a reload last saw them."""

from __future__ import annotations

from reactor.columns import U32, Json, Timestamp
from reactor.schema import declare_table, primary_key

DEFINITION_TABLE = "workflow_definition"


class DefinitionRow:
    """One type, as it was declared when it was last registered; ``is_registered`` says whether it is now.

    ``fingerprint`` stands for ``declared``: the shapes of state, payload and signals, and the timers' names. Stored
    states of versions ``reads_from`` to ``reads_to`` can be read. ``changed_at`` is when the fingerprint or the version
    last became another. A type that was retired has ``retired_at``: no more workflows of it are started.
    """

    workflow_type: str = primary_key()
    state_version: U32
    reads_from: U32
    reads_to: U32
    fingerprint: str
    declared: Json
    is_registered: bool = True
    first_seen_at: Timestamp
    changed_at: Timestamp
    last_seen_at: Timestamp
    retired_at: Timestamp | None = None
    retired_by: str | None = None
    retired_reason: str | None = None


DEFINITION_SCHEMA = declare_table(DefinitionRow, name=DEFINITION_TABLE, public=True)
