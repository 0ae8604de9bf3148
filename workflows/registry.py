"""The workflow types of one engine, in the order they were registered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from reactor.errors import Refusal, SenderError
from workflows.definition import Definition
from workflows.handler import Handler
from workflows.scripts.script import Script
from workflows.scripts.types import as_handler

WorkflowType = type[Handler[Any]] | type[Script]
"""What a workflow type is written as."""


class Registry:
    """Types by name. Each engine has its own: two programs in one process share nothing."""

    def __init__(self, types: Iterable[WorkflowType] = ()) -> None:
        self._types: dict[str, Definition] = {}
        self.get = self._types.get
        """``get(name)``: the type of that name, or None."""
        for handler_class in types:
            self.add(handler_class)

    def add(self, handler_class: WorkflowType) -> Definition:
        """Register a type; ``Refusal`` ``bad_declaration`` with the reason if it cannot be."""
        declared: Any = handler_class
        if not (isinstance(declared, type) and issubclass(declared, Handler | Script)):
            reason = f"{handler_class!r} is no workflow type; derive a class from Handler or Script"
            raise Refusal("bad_declaration", reason)
        made = Definition(as_handler(handler_class) if issubclass(handler_class, Script) else handler_class)
        if made.name in self._types:
            raise Refusal("bad_declaration", f"workflow type {made.name} is registered twice; list it once in types=")
        self._types[made.name] = made
        return made

    def require(self, name: str) -> Definition:
        """The type of that name; ``SenderError`` ``unknown_type`` tells how to register it."""
        found = self._types.get(name)
        if found is None:
            raise SenderError(
                "unknown_type",
                f"there is no workflow type {name!r}; registered are {', '.join(self._types) or 'none'}. Add its "
                "handler class with WorkflowEngine(types=[...]) or engine.register(...)",
                workflow_type=name,
                known_types=list(self._types),
            )
        return found

    @property
    def names(self) -> list[str]:
        """The names of all types."""
        return list(self._types)

    def __iter__(self) -> Iterator[Definition]:
        return iter(self._types.values())

    def __len__(self) -> int:
        return len(self._types)

    def __contains__(self, name: object) -> bool:
        return name in self._types
