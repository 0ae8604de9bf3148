"""The workflow engine as a module that games include."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from reactor.context import Context
from reactor.module import Module
from workflows.dispatch import Dispatcher
from workflows.facade import Workflows
from workflows.handler import Handler
from workflows.parts import Part
from workflows.recovery import Recovery, check_types
from workflows.reducers import Authorize, Reducers, starters_may_cancel
from workflows.registry import Registry
from workflows.standard import STANDARD
from workflows.tables import SCHEMAS
from workflows.types import BUILT_IN
from workflows.views import monitoring_views


P = TypeVar("P", bound=Part)


class WorkflowEngine(Module):
    """A module with the workflow tables, reducers and views, and a registry of types of its own.

    ``types``: the handler classes, the five built-in ones unless given. ``audit``: write a ``workflow_event`` row for
    every transition. ``authorize(ctx, workflow_row, verb)``: who may ``start`` (the row is None), ``signal`` and
    ``cancel``, in place of the rule that only the starter cancels. ``skip_types``: types that may be missing though
    live workflows belong to them; these stay parked. ``recover=False`` leaves them unlooked at when starting.
    """

    def __init__(
        self,
        types: Iterable[type[Handler[Any]]] = BUILT_IN,
        *,
        audit: bool = False,
        authorize: Authorize = starters_may_cancel,
        skip_types: Collection[str] = (),
        recover: bool = True,
        name: str = "workflows",
    ) -> None:
        super().__init__(name)
        self.registry = Registry(types)
        self._dispatcher = Dispatcher(self.registry, audit=audit)
        self._skip_types = frozenset(skip_types)
        self._recovery: Recovery | None = None
        self.parts = [part(self._dispatcher) for part in STANDARD]
        self._dispatcher.listen([part for part in self.parts if type(part).ended is not Part.ended])
        for schema in (*SCHEMAS, *(schema for part in self.parts for schema in part.schemas)):
            self.add_table(schema)
        Reducers(self._dispatcher, authorize).declare(self)
        for view, select in monitoring_views().items():
            self.view(view, select)
        for part in self.parts:
            part.declare(self)
        self.extension("workflows", lambda ctx: Workflows(ctx, self._dispatcher))
        self.before_start(self._check)
        self.on_start(self._announce)
        if recover:
            self.on_start(self._recover)

    def part(self, kind: type[P]) -> P:
        """The engine's part of that class."""
        return next(part for part in self.parts if isinstance(part, kind))

    def register(self, handler_class: type[Handler[Any]]) -> type[Handler[Any]]:
        """Add a type; also a class decorator. ``Refusal`` ``bad_declaration`` with the reason if it cannot be."""
        self.registry.add(handler_class)
        return handler_class

    def _check(self, engine: Any) -> None:
        self._dispatcher.limits = engine.limits
        self._recovery = None
        check_types(engine.store.tables["workflow"], self._dispatcher, self._skip_types)

    def _announce(self, ctx: Context) -> None:
        for kind in self.registry:
            ctx.log(f"registered workflow type {kind.name}")
        ctx.log(f"registry ready: {len(self.registry)} workflow types")

    def _recover(self, ctx: Context) -> bool:
        if self._recovery is None:
            self._recovery = Recovery(self._dispatcher, self._skip_types)
        more = self._recovery.round(ctx)
        if not more:
            self._recovery = None
        return more
