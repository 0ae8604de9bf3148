"""The guide says what is true: its examples run, and it mentions everything there is."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

from reactor.testing import Rig
from workflows import Handler, WorkflowEngine
from workflows.handle import Workflow
from workflows.views import monitoring_views

GUIDE = Path(__file__).parents[2] / "docs" / "workflows.md"


def test_the_examples_of_the_guide_run() -> None:
    """Every block, in order, in one module."""
    text = GUIDE.read_text(encoding="utf-8")
    module = types.ModuleType("workflow_guide")
    sys.modules[module.__name__] = module
    try:
        for found in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
            line = text[: found.start()].count("\n") + 1
            code = "\n" * line + found[1]
            exec(compile(code, str(GUIDE), "exec"), vars(module))
    finally:
        del sys.modules[module.__name__]
        rig = vars(module).get("rig")
        if isinstance(rig, Rig):
            rig.close()


def test_the_guide_mentions_everything() -> None:
    """Reducers, tables, views, types and their signals, what a step can do."""
    text = GUIDE.read_text(encoding="utf-8")
    engine = WorkflowEngine()
    wanted = {*engine.reducers, *monitoring_views(), *engine.registry.names} - {"workflow_timer_fire"}
    wanted |= {"workflow", "workflow_timer", "workflow_event", "recovery_error", "skip_types", "authorize", "audit"}
    wanted |= {signal for kind in engine.registry for signal in kind.signals}
    wanted |= {f"w.{name}" for name in ("timer", "cancel_timer", "remaining_us", "complete", "fail", "random", "event")}
    wanted |= {name for name in vars(Handler) if name.startswith("on_")} - {"on_start"}
    assert sorted(word for word in wanted if word not in text) == []
    assert all(hasattr(Workflow, name[2:]) for name in wanted if name.startswith("w."))
