"""The end of a run that begins anew: its record goes, and a row says that it was."""

from __future__ import annotations

from typing import Any

from workflows.handle import Workflow
from workflows.scripts.driver import Driver

RUNS_KEPT = 100


def end_run(w: Workflow[Any], driver: Driver, began_at: int) -> None:
    """End the run of ``driver``. What it still waited for goes, its record too; ``began_at`` is when it began."""
    for node in list(driver.nodes.values()):
        node.op.drop(driver, driver.pointer(node))
    driver.close()
    pointers, runs = w.db.execution_pointer, w.db.workflow_run
    for row in pointers.lookup(("workflow_id",), (w.id,)):
        pointers.delete(row.id)
    runs.insert(
        workflow_id=w.id, run=driver.run, events=driver.n, bytes=driver.bytes, began_at=began_at, ended_at=w.now
    )
    kept = runs.lookup(("workflow_id",), (w.id,))
    if len(kept) > RUNS_KEPT:
        runs.delete(kept[0].id)
