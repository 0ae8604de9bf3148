"""Who wants to hear of changes, and telling them.

Callbacks are plain functions. They run after the whole commit is in the mirror, so that a callback which looks at
another row sees it as the same commit left it. One that raises harms nobody else: the exception goes to a hook.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from client.rows import Row

RowCallback: TypeAlias = Callable[[Row], object]
UpdateCallback: TypeAlias = Callable[[Row, Row], object]
ErrorHook: TypeAlias = Callable[[Exception, Callable[..., object]], object]

_log = logging.getLogger("client")


class Change(NamedTuple):
    """One row of a table, before and after: an insert has no ``old``, a delete has no ``new``."""

    table: str
    old: Row | None
    new: Row | None


def log_callback_error(error: Exception, callback: Callable[..., object]) -> None:
    """The hook used unless another is given: writes the traceback to the log."""
    _log.error("callback %r raised", callback, exc_info=error)


class Listeners:
    """The callbacks of one table or one subscription set."""

    __slots__ = ("_delete", "_insert", "_update")

    def __init__(self) -> None:
        self._insert: list[RowCallback] = []
        self._update: list[UpdateCallback] = []
        self._delete: list[RowCallback] = []

    def __bool__(self) -> bool:
        return bool(self._insert or self._update or self._delete)

    def on_insert(self, callback: RowCallback) -> RowCallback:
        """Call ``callback(row)`` for each row that appears. Returns it, so that this works as a decorator."""
        self._insert.append(callback)
        return callback

    def on_update(self, callback: UpdateCallback) -> UpdateCallback:
        """Call ``callback(old, new)`` for each row that changes."""
        self._update.append(callback)
        return callback

    def on_delete(self, callback: RowCallback) -> RowCallback:
        """Call ``callback(old)`` for each row that leaves."""
        self._delete.append(callback)
        return callback

    def remove(self, callback: Callable[..., object]) -> None:
        """Stop calling ``callback``; nothing happens if it was not registered."""
        lists: tuple[list[Any], ...] = (self._insert, self._update, self._delete)
        for callbacks in lists:
            if callback in callbacks:
                callbacks.remove(callback)

    def tell(self, changes: Sequence[Change], hook: ErrorHook) -> None:
        """Run the callbacks for these changes, in their order."""
        if not self:
            return
        for change in changes:
            for callback, args in self._calls(change):
                guarded(hook, callback, *args)

    def _calls(self, change: Change) -> list[tuple[Callable[..., object], tuple[Row, ...]]]:
        if change.old is None and change.new is not None:
            return [(callback, (change.new,)) for callback in self._insert]
        if change.new is None and change.old is not None:
            return [(callback, (change.old,)) for callback in self._delete]
        if change.old is not None and change.new is not None:
            return [(callback, (change.old, change.new)) for callback in self._update]
        return []


def guarded(hook: ErrorHook, callback: Callable[..., object], *args: Any) -> None:
    """Call ``callback``; what it raises goes to ``hook``, and what the hook raises to the log."""
    try:
        callback(*args)
    except Exception as error:
        try:
            hook(error, callback)
        except Exception as hook_error:
            _log.error("the hook for errors in callbacks raised", exc_info=hook_error)
