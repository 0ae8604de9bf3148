"""Attributes and tags as a part of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reactor.context import Context
from reactor.module import Module
from workflows.attributes import book
from workflows.attributes.tables import SCHEMAS
from workflows.attributes.values import Declared, declared_kinds
from workflows.dispatch import Dispatcher
from workflows.parts import Part
from workflows.start import names


class AttributePart(Part):
    """Their rows live as long as their workflow. ``kinds``: attributes that hold one kind of value only."""

    schemas = SCHEMAS

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self.kinds: Declared = {}

    def declare_types(self, types: Mapping[str, Any]) -> None:
        """Attributes that hold one type of value: ``{"zone": int, "seen_at": Timestamp}``; any other holds what it is
        given. ``Refusal`` ``bad_declaration``."""
        self.kinds = self.dispatcher.attribute_kinds = declared_kinds(types)

    def declare(self, module: Module) -> None:
        """Add the reducers."""
        module.reducer(self.workflow_tag)
        module.reducer(self.workflow_set_attributes)

    def workflow_tag(
        self, ctx: Context, id: int | str, add: list[str] | None = None, remove: list[str] | None = None
    ) -> list[str]:
        """Give a workflow, live or ended, tags and take others away; returns the tags it has then."""
        workflow_id = self._allowed(ctx, id)
        with self.dispatcher.commands.command(ctx, "tag", workflow_id):
            book.change_tags(ctx, workflow_id, add or (), remove or ())
        return book.tags_of(ctx, workflow_id)

    def workflow_set_attributes(self, ctx: Context, id: int | str, attributes: dict[str, Any]) -> dict[str, Any]:
        """Set attributes of a workflow, live or ended; null takes one away. Returns all it has then."""
        workflow_id = self._allowed(ctx, id)
        with self.dispatcher.commands.command(ctx, "set_attributes", workflow_id):
            book.set_attributes(ctx, workflow_id, attributes, self.kinds)
        return book.attributes_of(ctx, workflow_id)

    def _allowed(self, ctx: Context, id: int | str) -> int:
        row = book.require(ctx, names.resolve(ctx, id))
        self.dispatcher.allow(ctx, row, row.workflow_type, "label")
        workflow_id: int = row.id
        return workflow_id

    # -- for other parts and game code ------------------------------------------------------------

    def at_start(
        self, ctx: Context, workflow_id: int, attributes: Mapping[str, Any] | None, tags: list[str] | None
    ) -> None:
        """What a start was given; part of the start, so a wrong one undoes it."""
        if attributes:
            book.set_attributes(ctx, workflow_id, attributes, self.kinds)
        if tags:
            book.change_tags(ctx, workflow_id, tags)

    def removed(self, ctx: Context, row: Any) -> None:
        """They go with their workflow."""
        book.forget(ctx, row.id)
