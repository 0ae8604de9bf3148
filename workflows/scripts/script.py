"""How a script is written: an ``async def`` that awaits what happens to its entity.

    class Burn(Script):
        name = "burn"
        signals = {"dispel": NoPayload, "stack": Stack}

        async def run(self, w: Run, start: BurnStart) -> dict[str, Any]:
            ends_at = w.now + start.duration_us
            while True:
                match await w.select(expire=w.sleep(ends_at - w.now), dispel=w.signal("dispel")):
                    case ("expire", _):
                        return {"outcome": "expired"}
                    case ("dispel", _):
                        return {"outcome": "dispelled"}

Or, where nothing but ``run`` is needed, ``@script(signals=...)`` over the function itself.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar, overload

from reactor.scopes import WORLD
from workflows.policy import FAIL_AT_ONCE, THREE_ATTEMPTS, ErrorPolicy
from workflows.scripts.budget import HistoryBudget
from workflows.scripts.run import Run
from workflows.start.options import Concurrency, Exclusive

Body = Callable[..., Coroutine[Any, Any, Any]]
MadeOf = Callable[[Body], "type[Script]"]


class Script:
    """Base class of scripts. There is one instance for each run, so what it keeps on itself is the run's own.

    ``name``, ``clock``, ``signals``, ``queries`` and ``updates`` as for handlers. ``step_policy`` is the one of steps
    that name none; ``on_error`` that of the script itself; ``budget`` bounds the record of a run.
    """

    name: ClassVar[str] = ""
    clock: ClassVar[str] = WORLD
    signals: ClassVar[Mapping[str, Any]] = {}
    queries: ClassVar[Mapping[str, Any]] = {}
    updates: ClassVar[Mapping[str, Any]] = {}
    step_policy: ClassVar[ErrorPolicy] = THREE_ATTEMPTS
    on_error: ClassVar[ErrorPolicy] = FAIL_AT_ONCE
    exclusive: ClassVar[Exclusive | None] = None
    concurrency: ClassVar[Concurrency | None] = None
    budget: ClassVar[HistoryBudget] = HistoryBudget()

    async def run(self, w: Run, payload: Any) -> Any:
        """The script; what it returns is the workflow's result. The annotation of ``payload`` declares it."""
        raise NotImplementedError


@overload
def script(body: Body) -> type[Script]: ...


@overload
def script(
    *,
    name: str | None = None,
    clock: str = WORLD,
    signals: Mapping[str, Any] | None = None,
    step_policy: ErrorPolicy = THREE_ATTEMPTS,
    on_error: ErrorPolicy = FAIL_AT_ONCE,
    exclusive: Exclusive | None = None,
    concurrency: Concurrency | None = None,
    budget: HistoryBudget | None = None,
) -> MadeOf: ...


def script(
    body: Body | None = None,
    *,
    name: str | None = None,
    clock: str = WORLD,
    signals: Mapping[str, Any] | None = None,
    step_policy: ErrorPolicy = THREE_ATTEMPTS,
    on_error: ErrorPolicy = FAIL_AT_ONCE,
    exclusive: Exclusive | None = None,
    concurrency: Concurrency | None = None,
    budget: HistoryBudget | None = None,
) -> Any:
    """Make ``async def quest(w, payload)`` a type of that name: ``@script`` or ``@script(signals={...})``."""

    def declare(function: Body) -> type[Script]:
        def run(self: Script, w: Run, payload: Any) -> Coroutine[Any, Any, Any]:
            return function(w, payload)

        run.__wrapped__ = function  # type: ignore[attr-defined]
        members: dict[str, Any] = {
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "name": name or function.__name__,
            "clock": clock,
            "signals": dict(signals or {}),
            "step_policy": step_policy,
            "on_error": on_error,
            "exclusive": exclusive,
            "concurrency": concurrency,
            "budget": budget or HistoryBudget(),
            "run": run,
        }
        return type(function.__name__, (Script,), members)

    return declare if body is None else declare(body)
