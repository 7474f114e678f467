"""
HEALTH_CHECK=nomad: the results of Nomad's own checks, queried for one allocation at a time.

Nomad forwards each query to the client node of the allocation, so only one query is in progress at
a time.  A failed query is not a result: while Nomad is unreachable, endpoints that were ready once
are probed by TCP, so that a dead one is still removed.  Always probed by TCP are endpoints without
checks in Nomad, and endpoints that have left the registry: the checks of a stopping allocation
disappear before it does.  Without the permission to read checks, all endpoints are probed by TCP,
which is reported once.

Nomad checks an endpoint every few seconds, so its result may be older than a failed connection of
nginx.  An endpoint to which nginx cannot connect is therefore probed by TCP, and until that passes
no check of Nomad makes it ready.

The thread of this module and that of the prober both update the records; a lock protects them, and
is never held during a query.
"""

import threading
import time
from collections.abc import Callable, Iterable

from supervisor.core import probe_outcome
from supervisor.core.commands import ProbeNow, SetProbeTargets
from supervisor.core.config.settings import Settings
from supervisor.core.events import Event, HealthChanged, ProbesFellBack
from supervisor.core.model import NEVER, Endpoint, HealthState
from supervisor.core.probe_outcome import Outcome, OutcomeKind, ProbeReport
from supervisor.health import state
from supervisor.health.allocation_checks import (
    AllocationChecks,
    CheckSummary,
    describe,
    summarize,
)
from supervisor.health.prober import Prober
from supervisor.health.state import ProbeRecord, ProbeResult
from supervisor.nomad.api import ChecksQuery
from supervisor.nomad.errors import NomadError
from supervisor.system.jitter import chance

#: Nomad counts as unreachable after this many intervals without a response.
_UNREACHABLE_AFTER = 3

#: The permission counts as missing after this many 403s in a row: a server that lags behind its
#: leader does not have a new token yet.
_MAX_REFUSALS = 2
_REFUSAL_PAUSE = 1.0

#: Back-off while queries fail, and the limit for `Retry-After`, in seconds.
_FIRST_PAUSE, _MAX_PAUSE = 0.1, 5.0
_MAX_RETRY_AFTER = 60.0


class NomadChecker:
    """
    A thread that queries Nomad, and a TCP prober for the endpoints that Nomad does not check.
    """

    def __init__(
        self,
        settings: Settings,
        post: Callable[[Event], None],
        redact: Callable[[list[str]], None],
    ) -> None:
        self._settings = settings
        self._rise, self._fall = settings.health_rise, settings.health_fall
        self._interval = settings.health_interval
        self._post = post
        self._client = ChecksQuery(settings, redact)
        self._prober = Prober(settings, self._on_tcp_event)
        self._services = frozenset(settings.service_name)
        self._lock = threading.Lock()
        self._wake_event = threading.Event()
        self._targets = SetProbeTargets(frozenset())
        self._tcp_targets = SetProbeTargets(frozenset())
        self._records: dict[Endpoint, ProbeRecord] = {}
        self._allocations: dict[str, AllocationChecks] = {}
        self._suspects: set[Endpoint] = set()
        self._fell_back = False
        self._refusals = 0
        self._failures = 0
        self._unanswered_since: float | None = None
        self._paused_until = 0.0

    def start(self) -> None:
        """Start both threads; they wait for the first targets."""
        self._prober.start()
        threading.Thread(target=self._run, name="checks", daemon=True).start()

    def watch(self, targets: SetProbeTargets) -> None:
        """Check these from now on; the records of endpoints that stay are kept.  Thread-safe."""
        now = time.monotonic()
        with self._lock:
            self._targets = targets
            wanted = targets.endpoints | targets.leaving
            for endpoint in self._records.keys() - wanted:
                del self._records[endpoint]
            self._suspects &= wanted
            for endpoint in wanted - self._records.keys():
                self._records[endpoint] = state.new_record(
                    now, was_ready=endpoint in targets.was_ready
                )
            before, self._allocations = self._allocations, {}
            for endpoint in targets.endpoints - targets.leaving:
                if name := targets.allocations.get(endpoint, ""):
                    checks = self._allocations.get(name)
                    if checks is None:
                        checks = self._allocations[name] = before.get(name) or AllocationChecks(now)
                        checks.endpoints = []
                    checks.endpoints.append(endpoint)
            self._update_tcp_targets(now)
        self._wake_event.set()

    def probe(self, suspects: ProbeNow) -> None:
        """Probe these by TCP at once; nginx cannot connect to them.  Thread-safe."""
        now = time.monotonic()
        with self._lock:
            probed = self._tcp_targets.endpoints | self._tcp_targets.leaving
            self._suspects |= (suspects.endpoints & self._records.keys()) - probed
            self._update_tcp_targets(now)
            self._prober.probe(suspects)

    def reports(self, endpoints: Iterable[Endpoint]) -> dict[Endpoint, ProbeReport]:
        """Return the last outcome of those that have one: of the probe, or of Nomad's checks."""
        now, found = time.monotonic(), {}
        with self._lock:
            probed = self._tcp_targets.endpoints | self._tcp_targets.leaving
            checked = [each for each in endpoints if each not in probed]
            for endpoint in checked:
                checks = self._allocations.get(self._targets.allocations.get(endpoint, ""))
                if checks and checks.outcome:
                    found[endpoint] = ProbeReport(checks.outcome, max(0.0, now - checks.ended_at))
        return found | self._prober.reports(probed.intersection(endpoints))

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            with self._lock:
                due, name = self._next()
            if due > now:
                self._wake_event.wait(None if due == NEVER else due - now)
                self._wake_event.clear()
                continue
            try:
                rows = self._client.list_checks(name)
            except NomadError as error:
                self._on_failure(name, error, now)
            else:
                outcome = describe(rows, self._services)
                self._on_response(name, summarize(rows, self._services), outcome)

    def _next(self) -> tuple[float, str]:
        """Return when the next query is due, and for which allocation."""
        if self._fell_back or not self._allocations:
            return NEVER, ""
        due, name = min((each.due, name) for name, each in self._allocations.items())
        return max(due, self._paused_until), name

    # -------------------------------------------------------------------------------- results

    def _on_response(self, name: str, summary: CheckSummary, outcome: Outcome) -> None:
        """Process a response."""
        now = time.monotonic()
        with self._lock:
            self._unanswered_since, self._failures, self._refusals = None, 0, 0
            allocation = self._allocations.get(name)
            if allocation:  # it may have been removed during the query
                allocation.on_response(summary)
                allocation.outcome, allocation.ended_at = outcome, now
                self._apply_summary(allocation, summary, now)
                allocation.due = now + self._pause(allocation, now)
            self._update_tcp_targets(now)

    def _apply_summary(
        self, allocation: AllocationChecks, summary: CheckSummary, now: float
    ) -> None:
        changes: dict[Endpoint, HealthState] = {}
        for endpoint in allocation.endpoints:
            before = self._records[endpoint]
            result = summary.to_probe_result(was_ready=before.was_ready)
            if result is None or (result is ProbeResult.PASSED and endpoint in self._suspects):
                continue
            after = state.apply_result(before, result, now, self._rise, self._fall)
            self._records[endpoint] = after
            if after.health_state is not before.health_state:
                changes[endpoint] = after.health_state
        if changes:
            self._post(HealthChanged(changes))

    def _pause(self, allocation: AllocationChecks, now: float) -> float:
        if allocation.has_no_checks:
            return self._interval
        return min(
            state.pause(
                self._records[endpoint],
                now,
                has_fast_slot=False,
                is_leaving=False,
                endpoints_total=len(self._records),
                interval=self._interval,
                chance=chance(),
            )
            for endpoint in allocation.endpoints
        )

    def _on_failure(self, name: str, error: NomadError, started_at: float) -> None:
        """Process a failed query; a 404 does not mean that Nomad is unreachable."""
        now = time.monotonic()
        with self._lock:
            if _lacks_permission(error):
                self._refusals += 1
                self._paused_until = now + _REFUSAL_PAUSE
                if self._refusals == _MAX_REFUSALS:
                    self._fell_back = True
                    self._post(ProbesFellBack(error.reason, _policy_hint(self._settings)))
            else:
                allocation = self._allocations.get(name)
                if allocation:  # the other allocations are queried first
                    allocation.on_failure(started_at)
                    allocation.ended_at = now
                    allocation.outcome = probe_outcome.of_text(OutcomeKind.NO_ANSWER, error.reason)
                    allocation.due = now + self._pause(allocation, now)
                self._back_off(error, started_at, now)
            self._update_tcp_targets(now)

    def _back_off(self, error: NomadError, started_at: float, now: float) -> None:
        """Send no query for a while, longer after each failure."""
        if error.status == 404:
            self._unanswered_since, self._failures = None, 0
            return
        if self._unanswered_since is None:
            self._unanswered_since = started_at
        pause = min(_MAX_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures, 16))
        self._failures += 1
        retry_after = min(error.retry_after or 0.0, _MAX_RETRY_AFTER)
        self._paused_until = now + max(retry_after, pause * (0.5 + chance() / 2))

    # ------------------------------------------------------------------------------ TCP probes

    def _update_tcp_targets(self, now: float) -> None:
        """Give the prober the endpoints without current results from Nomad, and only those."""
        leaving, endpoints = self._targets.leaving, self._targets.endpoints
        if not self._fell_back:
            endpoints -= {
                endpoint
                for allocation in self._allocations.values()
                if not allocation.has_no_checks
                for endpoint in allocation.endpoints
                if not (
                    endpoint in self._suspects
                    or (self._records[endpoint].was_ready and self._is_unreachable(allocation, now))
                )
            }
        if (endpoints, leaving) != (self._tcp_targets.endpoints, self._tcp_targets.leaving):
            probed = endpoints | leaving
            was_ready = frozenset(each for each in probed if self._records[each].was_ready)
            self._tcp_targets = SetProbeTargets(endpoints, leaving, was_ready=was_ready)
            self._prober.watch(self._tcp_targets)

    def _is_unreachable(self, allocation: AllocationChecks, now: float) -> bool:
        limit = now - _UNREACHABLE_AFTER * self._interval
        return any(
            since is not None and since < limit
            for since in (self._unanswered_since, allocation.unanswered_since)
        )

    def _on_tcp_event(self, event: Event) -> None:
        """Apply an event of the TCP prober, in its thread."""
        assert isinstance(event, HealthChanged)
        now = time.monotonic()
        with self._lock:
            probed = self._tcp_targets.endpoints | self._tcp_targets.leaving
            changes = {
                endpoint: health_state
                for endpoint, health_state in event.health_states.items()
                if endpoint in probed and self._records[endpoint].health_state is not health_state
            }
            for endpoint, health_state in changes.items():
                self._records[endpoint] = state.replace_state(
                    self._records[endpoint], health_state, now
                )
            if changes:
                self._post(HealthChanged(changes))
            ready = HealthState.READY
            self._trust({each for each, found in event.health_states.items() if found is ready})

    def _trust(self, passed: set[Endpoint]) -> None:
        """Let Nomad's checks decide again about suspects whose probe has passed, from now on."""
        passed &= self._suspects
        if not passed:
            return
        now = time.monotonic()
        self._suspects -= passed
        for allocation in self._allocations.values():
            if not passed.isdisjoint(allocation.endpoints):
                allocation.due = now
        self._update_tcp_targets(now)
        self._wake_event.set()


def _lacks_permission(error: NomadError) -> bool:
    """
    Return whether the token may not read jobs.
    """
    return error.status == 403


def _policy_hint(settings: Settings) -> str:
    """
    Return the policy that grants the permission, and the command to apply it.
    """
    namespace, job = settings.nomad_namespace, settings.nomad_job_id
    bound = f"-namespace {namespace} -job {job} " if job else ""
    return (
        f'put namespace "{namespace}" {{ capabilities = ["read-job"] }} into a file, then: '
        f"nomad acl policy apply {bound}NAME FILE"
    )
