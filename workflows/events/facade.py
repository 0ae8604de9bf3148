"""``ctx.events``: how game code publishes events, and workflows wait for them, as part of the running call."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from workflows.events.publishing import Published, Publishing
from workflows.events.waiting import Waiting
from workflows.handle import Workflow


class Events:
    """Events, as a reducer or handler sees them."""

    __slots__ = ("_ctx", "_publishing", "_waiting")

    def __init__(self, ctx: Context, publishing: Publishing, waiting: Waiting) -> None:
        self._ctx = ctx
        self._publishing = publishing
        self._waiting = waiting

    def publish(
        self,
        name: str,
        key: str = "",
        data: Any = None,
        *,
        at: int | None = None,
        keep: bool = True,
        event_id: str | None = None,
    ) -> Published:
        """Publish an event: each workflow that waits for its name and key is told once; see ``event_publish``."""
        return self._publishing.publish(self._ctx, name, key, data, at, keep, event_id)

    def wait(
        self, w: Workflow[Any], name: str, key: str = "", *, as_of: int | None = None, pointer_id: int | None = None
    ) -> int | None:
        """Let ``w`` wait for one event; ``on_event`` is told. An event stored after ``as_of`` (µs) is found.

        Returns the id of the subscription, None if an event was found. Raises as ``listen``.
        """
        return self._waiting.wait(w, name, key, as_of, pointer_id)

    def listen(self, w: Workflow[Any], name: str, key: str = "", *, as_of: int | None = None) -> int:
        """Let ``w`` be told of every event of a name and key, in order; returns the id of the subscription.

        ``SenderError`` ``limit_exceeded``; ``RuntimeError`` if ``w`` has ended in this step.
        """
        return self._waiting.listen(w, name, key, as_of)

    def unlisten(self, w: Workflow[Any], name: str, key: str = "") -> bool:
        """Let ``w`` wait no more for events of a name and key; False if it did not."""
        return self._waiting.unlisten(self._ctx, w.id, name, key)

    def drop(self, workflow_id: int, pointer_id: int) -> bool:
        """The place ``pointer_id`` of a script waits no more; False if it did not."""
        return self._waiting.drop(self._ctx, workflow_id, pointer_id)

    def find(self, name: str, key: str = "", *, as_of: int | None = None, limit: int = 100) -> list[Any]:
        """The kept events of a name and key that happened after ``as_of`` (µs), earliest first."""
        low, include = (None, (True, True)) if as_of is None else (as_of, (False, True))
        return list(self._ctx.db.event.range("at", low=low, include=include, name=name, key=key, limit=limit))
