"""SQL for people, and reports, on their way: waiting for the projection, then for the reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from reactor.clock import SECOND
from reactor.errors import Fault, ReactorError
from reactor.reports import ReportQuestion
from reactor.session import SqlQuestion
from reactor.storage import Storage

Question = SqlQuestion | ReportQuestion


class SqlRunner(Protocol):
    """Runs SQL for people and reports somewhere else and reports back on this thread."""

    def __call__(self, question: Question, respond: Callable[[bytes | ReactorError], None]) -> None:
        """Run ``question``; call ``respond`` once with the body or the error."""


class Questions:
    """Each question is run once the projection has what was durable when it came; ``len`` counts the unanswered.

    A projection that does not come forward (the disk is full) must not leave people waiting: past the deadline the
    answer is ``sql_unavailable``.
    """

    def __init__(
        self, storage: Storage, runner: SqlRunner | None, deadline_s: float, answered: Callable[[], None]
    ) -> None:
        self.runner = runner
        self._storage = storage
        self._deadline_us = round(deadline_s * SECOND)
        self._answered = answered
        self._waiting: list[tuple[int, int, Question]] = []
        self._running = 0
        self._projected = 0

    def __len__(self) -> int:
        return len(self._waiting) + self._running

    def ask(self, question: Question, seq: int, now: int) -> None:
        """Run ``question`` when the projection has reached ``seq``."""
        self._waiting.append((seq, now, question))
        self._storage.project(seq)

    def projected(self, seq: int) -> None:
        """The projection has reached ``seq``."""
        self._projected = max(self._projected, seq)
        ready = [question for needed, _, question in self._waiting if needed <= self._projected]
        self._waiting = [waiting for waiting in self._waiting if waiting[0] > self._projected]
        for question in ready:
            self._run(question)

    def expire(self, now: int) -> None:
        """Answer those that have waited for the projection longer than a query may take."""
        late = [question for _, at, question in self._waiting if now - at > self._deadline_us]
        self._waiting = [waiting for waiting in self._waiting if now - waiting[1] <= self._deadline_us]
        for question in late:
            question.answer(self._projected, Fault("sql_unavailable", "the SQL tables do not come forward"))
        if late:
            self._answered()

    def _run(self, question: Question) -> None:
        seq = self._projected
        if self.runner is None:
            question.answer(seq, Fault("sql_unavailable", "this reactor was started without an SQL reader"))
            self._answered()
            return
        self._running += 1

        def respond(body: bytes | ReactorError) -> None:
            self._running -= 1
            question.answer(seq, body)
            self._answered()

        self.runner(question, respond)
