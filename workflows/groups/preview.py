"""What a group command would do, and the token that says somebody has looked."""

from __future__ import annotations

import hashlib
from array import array
from typing import Any, NamedTuple

from reactor.context import Context
from reactor.errors import SenderError
from workflows.groups.matching import find, unknown_ids
from workflows.groups.selection import Selection
from workflows.groups.verbs import Verb

SAMPLES_MAX = 20
WITHOUT_TOKEN_MAX = 100
"""Targets that a destructive verb may have without a token: an operator can still read that list."""


class Targets(NamedTuple):
    """Whom a command is for: the rows that match, in the order of their ids, and named ids that nobody has."""

    rows: list[Any]
    unknown: list[int]

    @property
    def ids(self) -> list[int]:
        """All of them, in order."""
        ids = [row.id for row in self.rows]
        return sorted([*ids, *self.unknown]) if self.unknown else ids


def targets_of(ctx: Context, verb: Verb, selection: Selection) -> Targets:
    """Find the targets of a command; raises as ``Selection.check`` and ``matching.find``."""
    selection.check()
    return Targets(find(ctx, selection, verb.statuses), unknown_ids(ctx, selection))


def preview(verb_name: str, verb: Verb, selection: Selection, targets: Targets) -> dict[str, Any]:
    """What callers see before they act; nothing is changed.

    ``count`` of targets, the first of them as ``samples``, how many there are of each status, how many named ids are
    ``unknown``, the ``token``, and whether it will be asked for.
    """
    statuses: dict[str, int] = {}
    for row in targets.rows:
        status = str(row.status)
        statuses[status] = statuses.get(status, 0) + 1
    count = len(targets.rows) + len(targets.unknown)
    return {
        "verb": verb_name,
        "count": count,
        "unknown": len(targets.unknown),
        "statuses": dict(sorted(statuses.items())),
        "samples": [
            {"id": row.id, "type": row.workflow_type, "status": row.status, "name": row.name, "step": row.current_step}
            for row in targets.rows[:SAMPLES_MAX]
        ],
        "token": token_of(verb_name, selection, targets),
        "needs_token": needs_token(verb, count),
    }


def needs_token(verb: Verb, count: int) -> bool:
    """Whether a command needs a token from a preview."""
    return verb.always_token or (verb.is_destructive and count > WITHOUT_TOKEN_MAX)


def token_of(verb_name: str, selection: Selection, targets: Targets) -> str:
    """A token for exactly this: the verb, the filter, the targets, and how far each has come.

    It has two halves, so that another filter can be told from rows that have changed.
    """
    asked = _digest(verb_name.encode(), b"\0", selection.encoded())
    # Two numbers a target, sixteen bytes: a hundred thousand targets take little memory and a few milliseconds.
    found = array("q", [number for row in targets.rows for number in (row.id, row.sequence)])
    return f"{asked}-{_digest(found.tobytes(), b'|', array('q', targets.unknown).tobytes())}"


def _digest(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def check_token(verb_name: str, verb: Verb, selection: Selection, targets: Targets, token: str | None) -> None:
    """``SenderError`` ``preview_required`` or ``stale_preview`` unless the command may go on."""
    count = len(targets.rows) + len(targets.unknown)
    if token is None:
        if needs_token(verb, count):
            raise SenderError(
                "preview_required",
                f"{verb_name} of {count} workflows needs the token of a preview; call workflow_group_preview with the "
                "same verb and filter, look at what it says, and send its token along",
                count=count,
            )
        return
    current = token_of(verb_name, selection, targets)
    if token == current:
        return
    if token.partition("-")[0] != current.partition("-")[0]:
        reason = "the token belongs to another verb or filter"
    else:
        reason = "the workflows it is about have changed since the preview"
    raise SenderError(
        "stale_preview", f"{reason}; nothing was done. Call workflow_group_preview again, and look again", count=count
    )
