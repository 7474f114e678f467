"""
The metrics in Prometheus's text format, built at each scrape from the same state as the status.

`nginx_*` have the names of the official nginx-prometheus-exporter, so that its dashboards work; all
others begin with `autoexit_`.  The library keeps nothing between scrapes.
"""

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    UntypedMetricFamily,
)

from supervisor import __version__
from supervisor.admin.status_document import Observation, draining, health_counts
from supervisor.core.model import NEVER, Mode
from supervisor.core.state import State
from supervisor.core.stats import BOUNDS

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def exposition(state: State, observation: Observation) -> bytes:
    """
    Return all metrics as text.
    """
    return generate_latest(_Scrape(state, observation))


class _Scrape:
    """The metrics of one scrape; the library uses it as a registry."""

    def __init__(self, state: State, observation: Observation) -> None:
        self._state = state
        self._observation = observation

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        yield from self._supervisor()
        yield from self._deadline()
        yield from self._idle()
        yield from self._endpoints()
        yield from self._reloads()
        if self._observation.is_counting:
            yield from self._connections()
        yield from ProcessCollector(registry=None).collect()

    def _supervisor(self) -> Iterator[Metric]:
        view = self._state.view
        versions = {
            "version": __version__,
            "nginx_version": self._observation.nginx,
            "python_version": self._observation.python,
        }
        yield InfoMetricFamily(
            "autoexit_build", "Versions of autoexit-nginx, nginx and Python.", versions
        )
        current = self._observation.current
        yield _gauge("autoexit_healthy", "Whether nginx responds.", view.healthy and current)
        yield _gauge("autoexit_ready", "Whether endpoints are served.", view.ready and current)
        modes = GaugeMetricFamily(
            "autoexit_mode",
            "How the public port responds: 1 for the current mode.",
            labels=["mode"],
        )
        for mode in Mode:
            modes.add_metric([mode], float(mode == view.mode))
        yield modes

    def _deadline(self) -> Iterator[Metric]:
        left = self._state.lifetime.deadline - self._observation.now
        yield _gauge(
            "autoexit_deadline_remaining_seconds",
            "Seconds until the shutdown begins; +Inf without a deadline.",
            left if left == NEVER else max(0.0, left),
        )
        if self._state.deadline_epoch is not None:
            yield _gauge(
                "autoexit_deadline_timestamp_seconds",
                "When the shutdown begins, as epoch seconds.",
                self._state.deadline_epoch,
            )
        record = self._state.record
        if record.deadline is not None:
            yield _gauge(
                "autoexit_deadline_planned_timestamp_seconds",
                "When the shutdown would begin if nothing had moved it, as epoch seconds.",
                record.deadline,
            )
        yield _gauge(
            "autoexit_deadline_moved",
            "Whether the deadline is not the planned one.",
            record.extended_to is not None,
        )
        move = self._state.job_move
        if self._state.settings.job_variable:
            since = None if move.is_denied else move.failing_since
            yield _gauge(
                "autoexit_job_deadline_failing_seconds",
                "Since the job's variable cannot be read; 0 while it can, and without the right.",
                0.0 if since is None else max(0.0, self._observation.now - since),
            )
            yield _gauge(
                "autoexit_job_deadline_ignored",
                "Whether the job's variable has a value that does not count.",
                bool(move.problem),
            )

    def _idle(self) -> Iterator[Metric]:
        timeout, used_at = self._state.settings.idle_timeout, self._state.idle.used_at
        if timeout is None:
            return
        idle = 0.0 if used_at is None else max(0.0, self._observation.now - used_at)
        yield _gauge("autoexit_idle_seconds", "Seconds since clients used the service last.", idle)
        yield _gauge(
            "autoexit_idle_remaining_seconds",
            "Seconds until the shutdown begins unless a request arrives.",
            max(0.0, timeout - idle),
        )

    def _endpoints(self) -> Iterator[Metric]:
        state, stats = self._state, self._state.stats
        by_state = GaugeMetricFamily(
            "autoexit_endpoints", "Endpoints by probe state.", labels=["state"]
        )
        for health_state, count in health_counts(state).items():
            by_state.add_metric([health_state], count)
        yield by_state
        yield _gauge("autoexit_serving_endpoints", "Endpoints in use.", state.view.endpoints)
        age = GaugeMetricFamily(
            "autoexit_discovery_age_seconds",
            "Since a source responded; Nomad does every 5 minutes when nothing changes.",
            labels=["source"],
        )
        failing = GaugeMetricFamily(
            "autoexit_discovery_failing_seconds",
            "Since a source began to fail; 0 while it responds.",
            labels=["source"],
        )
        errors = CounterMetricFamily(
            "autoexit_discovery_errors", "Failed queries of a source.", labels=["source"]
        )
        for name, source in state.endpoint_set.sources.items():
            if source.answered_at is not None:
                age.add_metric([name], max(0.0, self._observation.now - source.answered_at))
            since = source.failing_since
            failing.add_metric(
                [name], 0.0 if since is None else max(0.0, self._observation.now - since)
            )
            errors.add_metric([name], stats.errors.get(name, 0))
        yield from (age, failing, errors)

    def _reloads(self) -> Iterator[Metric]:
        state, stats = self._state, self._state.stats
        reloads = CounterMetricFamily(
            "autoexit_reloads", "Reload attempts by result.", labels=["result"]
        )
        for result, count in stats.results.items():
            reloads.add_metric([result], count)
        yield reloads
        restored = stats.results["rolled_back"] + stats.results["revived"]
        yield CounterMetricFamily(
            "autoexit_rollbacks", "Rollbacks to the last good files.", value=restored
        )
        applied = stats.results["applied"]
        buckets = [(str(bound), count) for bound, count in zip(BOUNDS, stats.buckets, strict=True)]
        yield HistogramMetricFamily(
            "autoexit_reload_duration_seconds",
            "From a change until the new configuration responds.",
            buckets=[*buckets, ("+Inf", applied)],
            sum_value=stats.duration,
        )
        yield _gauge(
            "autoexit_draining_generations",
            "Old generations of workers with open requests.",
            len(draining(state, self._observation.is_running)),
        )
        yield CounterMetricFamily(
            "autoexit_worker_deaths",
            "Unexpected exits of nginx workers.",
            value=stats.worker_deaths,
        )
        yield CounterMetricFamily(
            "autoexit_master_deaths",
            "Unexpected exits of nginx masters.",
            value=stats.master_deaths,
        )
        yield CounterMetricFamily(
            "autoexit_cut_connections",
            "Client connections cut to limit old generations.",
            value=stats.cut,
        )

    def _connections(self) -> Iterator[Metric]:
        counters = self._observation.connections
        yield _gauge("nginx_up", "Whether nginx reported its counters.", counters is not None)
        if counters is None:
            return
        for name, meaning in (
            ("active", "Client connections, including waiting ones."),
            ("reading", "Connections whose request is being read."),
            ("writing", "Connections whose response is being written."),
            ("waiting", "Idle client connections."),
        ):
            yield _gauge(f"nginx_connections_{name}", meaning, counters[name])
        # Without a type: the official exporter's names lack the `_total` of a counter.
        for name in ("accepted", "handled"):
            meaning = f"Client connections {name} since nginx's master started."
            yield UntypedMetricFamily(f"nginx_connections_{name}", meaning, counters[name])
        meaning = "Requests since nginx's master started, including the supervisor's polls."
        yield CounterMetricFamily("nginx_http_requests", meaning, counters["requests"])


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, float(value))
