"""The workflow engine as a module that games include."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from reactor.context import Context
from reactor.module import Module
from workflows.attributes import AttributePart
from workflows.control.commands import Commands, Logged
from workflows.dispatch import Dispatcher
from workflows.facade import Workflows
from workflows.parts import Part
from workflows.permission import Authorize, Permission, starters_may_cancel
from workflows.recovery import Recovery, check_types
from workflows.reducers import Reducers
from workflows.registry import Registry, WorkflowType
from workflows.scheduled_commands import Function, ScheduledCommands
from workflows.schedules.cleanup import CleanupPolicy
from workflows.schedules.part import SchedulePart
from workflows.standard import STANDARD
from workflows.start.part import StartPart
from workflows.tables import SCHEMAS
from workflows.types import BUILT_IN
from workflows.versions.part import Versions
from workflows.views import monitoring_views
from workflows.visibility.part import VisibilityPart

P = TypeVar("P", bound=Part)
Declared = TypeVar("Declared", bound=WorkflowType)


class WorkflowEngine(Module):
    """A module with the workflow tables, reducers and views, and a registry of types of its own.

    ``types``: the handler classes, the five built-in ones unless given. ``audit``: write a ``workflow_event`` row for
    every transition. ``authorize(ctx, workflow_row, verb)``: who may ``start`` (the row is None), ``signal`` and
    ``cancel``, in place of the rule that only the starter cancels. ``skip_types``: types that may be missing though
    live workflows belong to them; these stay parked. ``recover=False`` leaves them unlooked at when starting.
    ``commands``: which accepted commands have a row in ``command_log``: ``all``, ``control`` (all but starts and
    signals) or ``off``.
    ``cleanup``: when ended workflows are removed, as a built-in schedule; None for never.
    ``attributes``: search attributes that hold one type of value, ``{"zone": int}``; others hold what they are given.
    """

    def __init__(
        self,
        types: Iterable[WorkflowType] = BUILT_IN,
        *,
        audit: bool = False,
        authorize: Authorize = starters_may_cancel,
        skip_types: Collection[str] = (),
        recover: bool = True,
        cleanup: CleanupPolicy | None = None,
        commands: str = "control",
        attributes: Mapping[str, Any] | None = None,
        name: str = "workflows",
    ) -> None:
        super().__init__(name)
        self.registry = Registry(types)
        self._dispatcher = Dispatcher(self.registry, audit=audit, permission=Permission(self.registry, authorize))
        self._dispatcher.commands.log(Logged(commands))
        self._skip_types = frozenset(skip_types)
        self._recovery: Recovery | None = None
        self.parts = [part(self._dispatcher) for part in STANDARD]
        self.part(SchedulePart).cleanup = cleanup
        self.part(AttributePart).declare_types(attributes or {})
        self.part(VisibilityPart).kinds = self.part(AttributePart).kinds
        self.part(StartPart).rules.label = self.part(AttributePart).at_start
        self.part(Versions).skip_types = self._skip_types
        self._dispatcher.listen([part for part in self.parts if type(part).ended is not Part.ended])
        self._dispatcher.removers = [part for part in self.parts if type(part).removed is not Part.removed]
        self._dispatcher.steps.wakers = [part for part in self.parts if type(part).wakes is not Part.wakes]
        for schema in (*SCHEMAS, *(schema for part in self.parts for schema in part.schemas)):
            self.add_table(schema)
        Reducers(self._dispatcher).declare(self)
        for view, select in monitoring_views().items():
            self.view(view, select)
        for part in self.parts:
            part.declare(self)
        self.extension("workflows", lambda ctx: Workflows(ctx, self._dispatcher))
        self.before_start(self._check)
        self.on_start(self._announce)
        self.on_reload(self._look_again)
        self.on_unload(self._unload)
        self._recovers = recover
        if recover:
            self.on_start(self._recover)

    @property
    def commands(self) -> Commands:
        """The log of commands, for reducers of the game's own."""
        return self._dispatcher.commands

    def part(self, kind: type[P]) -> P:
        """The engine's part of that class."""
        return next(part for part in self.parts if isinstance(part, kind))

    def command(self, name: str) -> Callable[[Function], Function]:
        """Register ``function(ctx, data)`` as a scheduled command; ``Refusal`` ``bad_declaration`` if it cannot be."""
        return self.part(ScheduledCommands).command(name)

    def register(self, handler_class: Declared) -> Declared:
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
        return self._go_on(ctx)

    def _look_again(self, ctx: Context) -> bool:
        """After a reload: look at the workflows of the types that have changed, and at no others."""
        if self._recovery is None:
            versions = self.part(Versions)
            versions.note(ctx)
            ctx.log(
                f"registry loaded anew: {len(self.registry)} workflow types, {len(versions.changed)} of them changed"
            )
            if not self._recovers or not versions.changed:
                return False
            self._recovery = Recovery(self._dispatcher, self._skip_types, versions.changed)
            # In further calls: the one that belongs to the swap holds everybody up.
            return True
        return self._go_on(ctx)

    def _unload(self) -> None:
        for part in self.parts:
            part.reloaded()

    def _go_on(self, ctx: Context) -> bool:
        if self._recovery is None:
            self._recovery = Recovery(self._dispatcher, self._skip_types)
        more = self._recovery.round(ctx)
        if not more:
            self._recovery = None
        return more
