"""Between the questions of clients and the requests of the reader: SQL for people, and reports."""

from __future__ import annotations

from reactor.reports import ReportQuestion
from reactor.session import SqlQuestion
from reactor.sql.messages import ReportRequest, SqlCaps, SqlRequest, SqlResult

Question = SqlQuestion | ReportQuestion


def request_of(question: Question, caps: SqlCaps) -> SqlRequest | ReportRequest:
    """What the reader is asked."""
    if isinstance(question, ReportQuestion):
        return ReportRequest(tuple(question.query.statements), caps)
    return SqlRequest(
        question.sql, question.params or [], owner=question.caller.is_owner, format=question.format, caps=caps
    )


def body_of(question: Question, result: SqlResult) -> bytes:
    """What the client is answered. Raises ``ReactorError``: see ``ReportQuestion.shaped``."""
    return question.shaped(result.content) if isinstance(question, ReportQuestion) else result.content
