"""What a scraper may read: counts and the lateness of timers, without a label that could grow.

The engine counts in plain integers; they are turned into Prometheus' words only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from reactor.clock import SECOND
from reactor.counters import LATENESS_BOUNDS_US
from reactor.host import Host

CONTENT_TYPE = CONTENT_TYPE_LATEST


class _HostCollector(Collector):
    def __init__(self, host: Host) -> None:
        self._host = host

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """Every family, as it stands."""
        engine = self._host.engine
        counters = engine.counters
        for name, text, value in (
            ("reactor_calls", "Requests run, timers not counted.", counters.calls),
            ("reactor_commits", "Commits made.", counters.commits),
            ("reactor_calls_failed", "Calls that were refused or undone.", counters.failed),
            ("reactor_timers_missed", "Occurrences left out by a catch-up policy.", counters.missed),
            ("reactor_timer_failures", "Scheduled reducers that raised.", counters.timer_failures),
            ("reactor_timers_stale", "Timers found void when their time came.", engine.timers.stale),
        ):
            yield CounterMetricFamily(name, text, value)
        yield GaugeMetricFamily("reactor_seq", "The newest commit.", engine.seq)
        yield GaugeMetricFamily("reactor_durable_seq", "The newest durable commit.", self._host.durable_seq)
        yield GaugeMetricFamily("reactor_sessions", "Connected clients.", len(self._host.sessions))
        yield GaugeMetricFamily("reactor_read_only", "1 while nothing can be written.", int(engine.halted is not None))
        yield self._lateness()

    def _lateness(self) -> HistogramMetricFamily:
        counters = self._host.engine.counters
        total, buckets = 0, []
        bounds = [*(str(bound / SECOND) for bound in LATENESS_BOUNDS_US), "+Inf"]
        for bound, count in zip(bounds, counters.lateness, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return HistogramMetricFamily(
            "timer_lateness_seconds",
            "From when a timer was due to when its reducer ran.",
            buckets=buckets,
            sum_value=counters.lateness_us_sum / SECOND,
        )


def page(host: Host) -> bytes:
    """The metrics page, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_HostCollector(host))
    return generate_latest(registry)
