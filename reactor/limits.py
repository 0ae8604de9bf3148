"""Every bound of the system with the reason for its value.

One frozen object is handed down from the entry point, so a test can tighten a bound without patching.
Names carry the unit and ``_max`` last.
"""

from __future__ import annotations

from dataclasses import dataclass

from reactor.errors import invariant


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what others may ask of the reactor. Bytes, counts, and seconds as the suffix says."""

    # One message in: a batch of 1,000 calls with 500-byte arguments fits.
    message_bytes_max: int = 1 << 20
    # Calls taken from the inbox in one turn: keeps a turn near 10 ms at 20-50 us a call.
    calls_per_turn_max: int = 512
    # Timers fired in one turn, so that live calls wait a few milliseconds at most behind a backlog.
    timers_per_turn_max: int = 256
    # Commits not yet durable past which no timer fires, so that a backlog leaves room for live calls: some 30 ms of it.
    timer_commits_unsynced_max: int = 1_024
    # Requests waiting in the inbox, all connections together; past it the answer is `overloaded`.
    inbox_calls_max: int = 100_000
    # Bytes of messages waiting in the inbox, roughly.
    inbox_bytes_max: int = 64 << 20
    # Requests of one connection that are not yet answered.
    inflight_per_connection_max: int = 10_000
    # Calls in one batch message.
    batch_calls_max: int = 10_000
    # Bytes of log groups sent to the writer and not yet durable; past it no further turn starts.
    unsynced_bytes_max: int = 64 << 20
    # A reducer that runs longer than this is interrupted and undone.
    call_budget_s: float = 2.0
    # init fills tables, so it may take longer.
    init_budget_s: float = 120.0
    # Bytes a connection may leave unread before it is cut.
    send_queue_bytes_max: int = 8 << 20
    # How long a cut connection may take to read its goodbye.
    goodbye_s: float = 2.0
    # Live queries of one connection, and rows of one snapshot.
    subscriptions_per_connection_max: int = 10_000
    # Of these, queries without an equality: each is tested against every change of its table, whoever made it.
    unrouted_per_connection_max: int = 100
    snapshot_rows_max: int = 250_000
    # Length of a live query's text, and literals in one IN list.
    live_query_chars_max: int = 16_384
    live_query_literals_max: int = 1_000
    # Changes remembered in memory for resuming subscriptions.
    resume_changes_max: int = 100_000
    # SQL for people.
    sql_deadline_s: float = 5.0
    sql_rows_max: int = 100_000
    sql_result_bytes_max: int = 32 << 20
    sql_chars_max: int = 65_536
    sql_waiting_max: int = 64
    # Rows that a list without its index may look at, and distinct keys of an aggregate: a second's work, some 50 MB.
    list_scan_rows_max: int = 1_000_000
    aggregate_keys_max: int = 100_000
    # Automatic ids are reserved in blocks of this many, so that handing one out writes nothing.
    id_block: int = 4_096
    # Idempotency keys are remembered this long.
    request_key_retention_s: int = 86_400
    request_key_chars_max: int = 128
    # Keys kept at most, the oldest forgotten first: some 300 bytes each.
    request_keys_max: int = 500_000
    # The log keeps at least what the projection needs; beyond that it is trimmed by age and size.
    log_retention_s: int = 3_600
    log_bytes_max: int = 4 << 30
    # Workflow payloads, signal payloads and states, in bytes of JSON.
    payload_bytes_max: int = 256 << 10
    state_bytes_max: int = 1 << 20
    # What one workflow may have at a time: timers, signals nobody has taken, children that are live.
    workflow_timers_max: int = 2_000
    workflow_signals_max: int = 5_000
    workflow_children_max: int = 1_000
    # Events kept of one workflow where the audit is on; past it the oldest quarter gives way to a mark. 0 is no bound.
    workflow_events_max: int = 10_000
    # Steps of one workflow in all its life; past it the workflow ends as TimedOut. 0 is no bound.
    workflow_steps_max: int = 0
    # Rows of `command_log` that tell of accepted commands, and as many of refused ones.
    commands_kept_max: int = 10_000
    # Refusals written in one second; more are counted only, so that nobody fills the disk with his mistakes.
    refusals_per_second_max: int = 100
    # Rows of `timer_error`; past it the oldest makes room.
    timer_errors_max: int = 10_000
    # Log lines kept for `reactor logs`.
    log_lines_max: int = 10_000

    def __post_init__(self) -> None:
        invariant(self.timers_per_turn_max > 0 and self.calls_per_turn_max > 0, "a turn must do something")
        invariant(self.inflight_per_connection_max <= self.inbox_calls_max, "one connection fits in the inbox")
        invariant(self.send_queue_bytes_max > self.message_bytes_max, "one message fits in a send queue")
        invariant(self.payload_bytes_max <= self.message_bytes_max, "a payload fits in a message")
        invariant(self.call_budget_s <= self.init_budget_s, "init may take at least as long as a call")


DEFAULT_LIMITS = Limits()
