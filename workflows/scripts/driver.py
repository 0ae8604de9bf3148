"""Running a script: its coroutines, what they wait for, and their replay from the record.

A script is a tree of *fibers*: its own coroutine, and one for each coroutine given to ``select`` or ``all``. A fiber
runs until it awaits an operation. The driver opens the operation; when that is over, the fiber is put in line, and
fibers run in the order in which they got there. So the order of everything depends on nothing but the order in which
things were over, and that is in the record: replaying it does the same again.

A fiber that is not waited for any more, because another was first or the workflow is cancelled, is told so by
``Cancelled`` and may clean up with steps. The script has not come to its end before all of them have.

The driver has no memory of its own that matters. What it holds can be thrown away after any step and made again from
the record.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Coroutine
from typing import Any

import msgspec

from reactor.errors import invariant
from workflows.failures import HARD
from workflows.scripts.errors import Cancelled, ContinueAsNew, as_failure, without_frames
from workflows.scripts.fibers import ADRIFT, Chosen, Fiber, Finish, OpenGroup, Slot, close, discard, is_fresh
from workflows.scripts.history import History
from workflows.scripts.operations import Condition, Group, Node, Operation, to_json
from workflows.scripts.replaying import TOLD_KINDS, Replayer
from workflows.scripts.tables import PointerStatus

FIBERS_MAX = 10_000
REFUSALS_MAX = 100
"""How often a fiber that may only clean up is told that it may not wait; then it is closed."""


class Driver(Replayer):
    """One run of one script. ``w`` is set while a step runs; ``n`` is the number of the last event."""

    def __init__(self, workflow_id: int, run: int) -> None:
        super().__init__(workflow_id, run)
        self.finish: Finish | None = None
        self._ready: deque[tuple[Fiber, Any, BaseException | None]] = deque()
        self._root: Fiber | None = None
        self._fibers = 0
        self._adrift: dict[Fiber, None] = {}
        self._leaving: Finish | None = None
        self._cancelling = False

    # -- from outside --------------------------------------------------------------------------

    @property
    def is_leaving(self) -> bool:
        """See ``Live``."""
        return self._cancelling

    def begin(self, script: Coroutine[Any, Any, Any], now: int) -> None:
        """Put the script's own coroutine in line; ``now`` is the logical instant its run began."""
        self.now = now
        self._root = Fiber(script, None)
        self._root.has_begun = True
        self._ready.append((self._root, None, None))

    def replay(self, history: History) -> None:
        """Do again what the record says; ``DivergenceError`` at the first difference."""
        self.history = history
        self.newest = history.newest
        while True:
            self._run_ready()
            event = history.at(self.n + 1)
            if event is None:
                break
            pointer = event.pointer
            if event.what != "over" and pointer.kind not in TOLD_KINDS:
                raise self.divergence("does not ask for it")
            self.n += 1
            self.now = pointer.ended_at
            if pointer.kind == "update":
                self.replay_update(pointer)
            elif pointer.kind == "cancel":
                self.grow(pointer.data, pointer.outcome)
                self._cancel_all(msgspec.json.decode(pointer.data))
            else:
                self.replay_end(pointer)
        invariant(self.n == history.last, f"record of workflow {self.workflow_id} has a gap after event {self.n}")
        self.check_open(history)
        self.history = None

    def advance(self) -> None:
        """Run the script, live, until it waits for something or has left."""
        self._run_ready()
        while self.finish is None and not self.is_halted and self._one_condition():
            self._run_ready()

    def cancel(self, reason: str) -> None:
        """Throw ``Cancelled`` into the script: it may clean up with steps, but waits for nothing any more."""
        if self.finish is None:
            self.mark("cancel", "cancel", None, to_json(reason))
            self._cancel_all(reason)
            self.advance()

    def _cancel_all(self, reason: str) -> None:
        self._cancelling = True
        for fiber in list(self._adrift):
            self._cancel(fiber, reason)
        if self._root is not None and self._leaving is None:
            self._cancel(self._root, reason)

    def _cancel(self, node: Any, reason: str) -> bool:
        """Cancel what is open beneath ``node``, innermost first; False if no coroutine is there to clean up."""
        if isinstance(node, Fiber):
            if not self._cancel(node.current, reason):
                self._ready.append((node, None, Cancelled(reason)))
            return True
        if not isinstance(node, OpenGroup):
            self._drop(node)
            return False
        node.cancelled = reason
        node.nodes = [inner if self._cancel(inner, reason) else None for inner in node.nodes]
        node.left = sum(inner is not None for inner in node.nodes)
        return node.left > 0

    def close(self) -> None:
        """Throw the coroutines away; nothing of the script runs on, and what it does in ``finally`` has no effect.

        What refers to each other in circles is taken apart: the garbage collector does not come by for a long time.
        """
        self._cancelling = True
        self.w = None
        fibers = [*self._adrift, *(waiting[0] for waiting in self._ready)]
        if self._root is not None:
            fibers.append(self._root)
        # Without a newest row it is not taken for a run that can go on.
        self._root = self.update = self.finish = self._leaving = self.diverged = self.history = self.newest = None
        self.nodes.clear()
        self.parked.clear()
        self._ready.clear()
        self._adrift.clear()
        for fiber in fibers:
            close(fiber)

    def waiting(self, kind: str, label: str | None = None) -> Node | None:
        """The operation of that kind (and label) that has waited longest."""
        for node in self.nodes.values():
            if node.op.kind == kind and (label is None or node.op.label == label):
                return node
        return None

    def pointer(self, node: Node) -> Any:
        """The row of an open operation."""
        return self.w.db.execution_pointer.require(node.pointer_id)

    # -- fibers ------------------------------------------------------------------------------

    def _run_ready(self) -> None:
        ready = self._ready
        while ready and not self.is_halted and self.diverged is None:
            self._resume(*ready.popleft())
            if self.finish is not None:
                ready.clear()
                if self.history is not None and self.history.at(self.n + 1) is not None:
                    self.diverged = self.diverged or self.divergence("has come to its end")
        if self.diverged is not None:
            raise self.diverged

    def _resume(self, fiber: Fiber, value: Any, error: BaseException | None) -> None:
        if fiber.is_closed or (self._leaving is not None and fiber.owner is not ADRIFT):
            return
        fiber.current = None
        if not fiber.has_begun:
            fiber.has_begun = True
            if not is_fresh(fiber.coroutine):
                self._left(fiber, None, RuntimeError("a coroutine is awaited once, and this one has been already"))
                return
        try:
            if error is None:
                asked = fiber.coroutine.send(value)
            else:
                asked = fiber.coroutine.throw(error)
        except StopIteration as stop:
            self._left(fiber, stop.value, None)
        except ContinueAsNew as renewal:
            self._leave(Finish(renewal=without_frames(renewal)))
        except HARD:
            raise
        except Cancelled as cancelled:
            self._left(fiber, None, without_frames(cancelled))
        except BaseException as raised:
            self._left(fiber, None, as_failure(raised))
        else:
            self._give(fiber, asked)
        finally:
            # It refers to this frame, and the frame would to it.
            error = None

    def _give(self, fiber: Fiber, asked: Any) -> None:
        if not isinstance(asked, Operation | Group):
            discard(asked)
            wrong = TypeError(f"a script awaits what its w gives it, not {asked!r}")
            self._ready.append((fiber, None, wrong))
        elif (self._cancelling or fiber.owner is ADRIFT) and not (
            isinstance(asked, Operation) and asked.kind in ("step", "undo")
        ):
            discard(asked)
            self._refuse(fiber)
        else:
            self._open(asked, fiber)

    def _refuse(self, fiber: Fiber) -> None:
        refused = RuntimeError("what is being cancelled cleans up with steps and waits for nothing")
        fiber.refusals += 1
        if fiber.refusals <= REFUSALS_MAX:
            self._ready.append((fiber, None, refused))
        else:
            close(fiber)
            self._left(fiber, None, refused)

    def _left(self, fiber: Fiber, value: Any, error: BaseException | None) -> None:
        if fiber.owner is None:
            self._leave(Finish(result=value, error=error))
            return
        self._fibers -= 1
        if fiber.owner is not ADRIFT:
            self._settle(fiber.owner, value, error)
            return
        del self._adrift[fiber]
        if isinstance(error, Exception) and not self.is_replaying:
            self.w.log(f"a coroutine that was cancelled has raised {type(error).__name__}: {error}", "warning")
        if not self._adrift and self._leaving is not None:
            self.finish = self._leaving

    def _leave(self, finish: Finish) -> None:
        """The script has come to its end, or will have when those that clean up have."""
        if self._adrift:
            self._leaving = finish
        else:
            self.finish = finish

    # -- opening -----------------------------------------------------------------------------

    def _open(self, asked: Any, owner: Any) -> None:
        if isinstance(asked, Operation):
            node = Node(asked, owner)
            self._hang(owner, node)
            if self.history is not None:
                self.reopen(node, self.history)
            else:
                asked.begin(self, node)
        elif isinstance(asked, Group):
            self._open_group(OpenGroup(asked, owner), owner)
        elif inspect.iscoroutine(asked):
            self._open_fiber(asked, owner)
        else:
            self.complete(owner, None, TypeError(f"select and all take what w gives, or coroutines, not {asked!r}"))

    @staticmethod
    def _hang(owner: Any, node: Any) -> None:
        """Let whoever waits know what for, so that it can be dropped."""
        if isinstance(owner, Fiber):
            owner.current = node
        else:
            owner.group.nodes[owner.at] = node

    def _open_group(self, opened: OpenGroup, owner: Any) -> None:
        self._hang(owner, opened)
        items = opened.group.items
        opened.nodes = [None] * len(items)
        if not items:
            self.complete(owner, [], None)
        for at, item in enumerate(items):
            if opened.is_over:
                discard(item)
            else:
                self._open(item, Slot(opened, at))

    def _open_fiber(self, coroutine: Coroutine[Any, Any, Any], owner: Any) -> None:
        if self._fibers >= FIBERS_MAX:
            coroutine.close()
            self.complete(owner, None, RuntimeError(f"more than {FIBERS_MAX} coroutines in one script"))
            return
        self._fibers += 1
        fiber = Fiber(coroutine, owner)
        self._hang(owner, fiber)
        self._ready.append((fiber, None, None))

    # -- completing --------------------------------------------------------------------------

    def complete(self, owner: Any, value: Any, error: BaseException | None) -> None:
        """See ``Replayer``."""
        if isinstance(owner, Fiber):
            self._ready.append((owner, value, error))
        else:
            self._settle(owner, value, error)

    def _settle(self, slot: Slot, value: Any, error: BaseException | None) -> None:
        """One item of a group is over."""
        opened = slot.group
        if opened.is_over:
            return
        opened.nodes[slot.at] = None
        if opened.cancelled is not None:
            # Each of its coroutines has been told and may clean up; then whoever waits for them is told.
            opened.left -= 1
            if opened.left == 0:
                self._group_over(opened, None, Cancelled(opened.cancelled))
        elif opened.group.first:
            chosen = Chosen(opened.group.names[slot.at], value)
            self._group_over(opened, chosen, error)
        elif error is not None:
            self._group_over(opened, None, error)
        else:
            opened.results[slot.at] = value
            opened.left -= 1
            if opened.left == 0:
                self._group_over(opened, opened.results, None)

    def _group_over(self, opened: OpenGroup, value: Any, error: BaseException | None) -> None:
        self._drop(opened)
        self.complete(opened.owner, value, error)

    def _drop(self, node: Any) -> None:
        """Another waker was first: let go of an operation, a group or a fiber."""
        if isinstance(node, Node):
            self._drop_node(node)
        elif isinstance(node, OpenGroup):
            # Taken apart, so that nothing refers to each other in a circle.
            nodes, node.nodes, node.is_over = node.nodes, [], True
            for inner in nodes:
                self._drop(inner)
        elif isinstance(node, Fiber):
            self._drop_fiber(node)

    def _drop_fiber(self, fiber: Fiber) -> None:
        for at, waiting in enumerate(self._ready):
            if waiting[0] is fiber:
                del self._ready[at]
                break
        if not fiber.has_begun:
            self._fibers -= 1
            if is_fresh(fiber.coroutine):
                close(fiber)
            return
        self._drop(fiber.current)
        fiber.current, fiber.owner = None, ADRIFT
        self._adrift[fiber] = None
        self._ready.append((fiber, None, Cancelled("another was over first")))

    def _drop_node(self, node: Node) -> None:
        if self.nodes.pop(node.pointer_id, None) is None:
            return
        self.parked.pop(node.pointer_id, None)
        if self.history is None:
            node.op.drop(self, self.pointer(node))
            self.put(node, status=PointerStatus.CANCELLED, done_no=self.n, ended_at=self.now)

    def _one_condition(self) -> bool:
        """Complete the oldest condition that has become true."""
        for node in self.nodes.values():
            if type(node.op) is Condition and node.op.holds():
                self.done(node)
                return True
        return False
