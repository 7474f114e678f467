"""
The metrics, in Prometheus's words: made of the same state as the status, when somebody scrapes.

`nginx_*` are named as the official nginx-prometheus-exporter names them, so that its dashboards
work; all others begin with `autoexit_`.  The library keeps nothing between two scrapes.
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


def exposition(state: State, seen: Observation) -> bytes:
    """
    Write all metrics down as text.
    """
    return generate_latest(_Scrape(state, seen))


class _Scrape:
    """One look at everything: what the library takes for a registry."""

    def __init__(self, state: State, seen: Observation) -> None:
        self._state = state
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from self._about_us()
        yield from self._deadline()
        yield from self._endpoints()
        yield from self._reloads()
        if self._seen.is_counting:
            yield from self._connections()
        yield from ProcessCollector(registry=None).collect()

    def _about_us(self) -> Iterator[Metric]:
        view = self._state.view
        versions = {
            "version": __version__,
            "nginx_version": self._seen.nginx,
            "python_version": self._seen.python,
        }
        yield InfoMetricFamily("autoexit_build", "What this is.", versions)
        current = self._seen.current
        yield _gauge("autoexit_healthy", "Whether nginx answers.", view.healthy and current)
        yield _gauge("autoexit_ready", "Whether endpoints are served.", view.ready and current)
        modes = GaugeMetricFamily(
            "autoexit_mode", "What the public port tells a client: 1 for the one.", labels=["mode"]
        )
        for mode in Mode:
            modes.add_metric([mode], float(mode == view.mode))
        yield modes

    def _deadline(self) -> Iterator[Metric]:
        left = self._state.lifetime.deadline - self._seen.now
        yield _gauge(
            "autoexit_deadline_remaining_seconds",
            "Until the end begins; +Inf where there is no deadline.",
            left if left == NEVER else max(0.0, left),
        )
        if self._state.deadline_epoch is not None:
            yield _gauge(
                "autoexit_deadline_timestamp_seconds",
                "When the end begins, as epoch.",
                self._state.deadline_epoch,
            )

    def _endpoints(self) -> Iterator[Metric]:
        state, stats = self._state, self._state.stats
        by_state = GaugeMetricFamily(
            "autoexit_endpoints", "Endpoints by what the probes say.", labels=["state"]
        )
        for health_state, count in health_counts(state).items():
            by_state.add_metric([health_state], count)
        yield by_state
        yield _gauge("autoexit_serving_endpoints", "Endpoints in use.", state.view.endpoints)
        age = GaugeMetricFamily(
            "autoexit_discovery_age_seconds",
            "Since a source answered; Nomad does every 5 minutes when nothing changes.",
            labels=["source"],
        )
        failing = GaugeMetricFamily(
            "autoexit_discovery_failing_seconds",
            "Since a source began to fail; 0 while it answers.",
            labels=["source"],
        )
        errors = CounterMetricFamily(
            "autoexit_discovery_errors", "Failed queries of a source.", labels=["source"]
        )
        for name, source in state.endpoint_set.sources.items():
            if source.answered_at is not None:
                age.add_metric([name], max(0.0, self._seen.now - source.answered_at))
            since = source.failing_since
            failing.add_metric([name], 0.0 if since is None else max(0.0, self._seen.now - since))
            errors.add_metric([name], stats.errors.get(name, 0))
        yield from (age, failing, errors)

    def _reloads(self) -> Iterator[Metric]:
        state, stats = self._state, self._state.stats
        reloads = CounterMetricFamily(
            "autoexit_reloads", "Attempts at a configuration, by result.", labels=["result"]
        )
        for result, count in stats.results.items():
            reloads.add_metric([result], count)
        yield reloads
        restored = stats.results["rolled_back"] + stats.results["revived"]
        yield CounterMetricFamily(
            "autoexit_rollbacks", "Times the last good files came back.", value=restored
        )
        applied = stats.results["applied"]
        buckets = [(str(bound), count) for bound, count in zip(BOUNDS, stats.buckets, strict=True)]
        yield HistogramMetricFamily(
            "autoexit_reload_duration_seconds",
            "From a change to the answer of the new configuration.",
            buckets=[*buckets, ("+Inf", applied)],
            sum_value=stats.duration,
        )
        yield _gauge(
            "autoexit_draining_generations",
            "Old generations of workers that still answer somebody.",
            len(draining(state, self._seen.lives)),
        )
        yield CounterMetricFamily(
            "autoexit_worker_deaths", "Workers of nginx that died.", value=stats.worker_deaths
        )
        yield CounterMetricFamily(
            "autoexit_master_deaths", "Masters of nginx that died.", value=stats.master_deaths
        )
        yield CounterMetricFamily(
            "autoexit_cut_connections", "Clients cut off to make room.", value=stats.cut
        )

    def _connections(self) -> Iterator[Metric]:
        found = self._seen.connections
        yield _gauge("nginx_up", "Whether nginx told its counters.", found is not None)
        if found is None:
            return
        for name, meaning in (
            ("active", "Client connections, waiting ones included."),
            ("reading", "Connections whose request is being read."),
            ("writing", "Connections that are being answered."),
            ("waiting", "Idle client connections."),
        ):
            yield _gauge(f"nginx_connections_{name}", meaning, found[name])
        # Without a type: the official exporter's names lack the `_total` of a counter.
        for name in ("accepted", "handled"):
            meaning = f"Client connections {name} since nginx's master started."
            yield UntypedMetricFamily(f"nginx_connections_{name}", meaning, found[name])
        meaning = "Requests since nginx's master started, our own looks included."
        yield CounterMetricFamily("nginx_http_requests", meaning, found["requests"])


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, float(value))
