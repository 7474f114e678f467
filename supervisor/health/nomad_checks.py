"""
HEALTH_CHECK=nomad: what Nomad's own checks say, asked allocation by allocation.

The answer is a call to the client node that holds it, so there is one question at a time.  Silence
is no verdict: while Nomad is away, those that were ready once are probed by TCP, so that a dead one
still leaves.  So is, always, whatever Nomad has no checks for, and what has left the registry: the
checks of an allocation that is stopping are gone before it is.  Without the right to ask, all is
probed by TCP, and that is said once.

The thread here and that of the prober both learn; a lock keeps what is known, and is never held
while a question is under way.
"""

import threading
import time
from collections.abc import Callable

from supervisor.core.commands import SetProbeTargets
from supervisor.core.config.settings import Settings
from supervisor.core.events import Event, HealthChanged, ProbesFellBack
from supervisor.core.model import NEVER, Endpoint, HealthState
from supervisor.health import state
from supervisor.health.allocation_checks import AllocationChecks, CheckSummary, summarize
from supervisor.health.prober import Prober
from supervisor.health.state import ProbeRecord
from supervisor.nomad.api import ChecksQuery
from supervisor.nomad.errors import NomadError
from supervisor.system.jitter import chance

#: Nomad is away when it has said nothing for so many intervals.
_AWAY_AFTER = 3

#: A right is missing when so many answers in a row say so: a server that lags knows no new token.
_SURE = 2
_UNSURE_PAUSE = 1.0

#: Back-off while Nomad does not answer, and how much of a `Retry-After` is followed.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_LONGEST_RETRY_AFTER = 60.0


class NomadChecker:
    """
    A thread that asks Nomad, beside a prober for what Nomad does not tell.
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
        self._checks = ChecksQuery(settings, redact)
        self._prober = Prober(settings, self._heard)
        self._services = frozenset(settings.service_name)
        self._lock = threading.Lock()
        self._wake_event = threading.Event()
        self._order = SetProbeTargets(frozenset())
        self._probed = SetProbeTargets(frozenset())
        self._known: dict[Endpoint, ProbeRecord] = {}
        self._allocations: dict[str, AllocationChecks] = {}
        self._fell_back = False
        self._refusals = 0
        self._failures = 0
        self._unanswered_since: float | None = None
        self._quiet_until = 0.0

    def start(self) -> None:
        """Start both threads; they rest until they are told whom to watch."""
        self._prober.start()
        threading.Thread(target=self._run, name="checks", daemon=True).start()

    def watch(self, order: SetProbeTargets) -> None:
        """Follow these from now on; what is known of those that stay is kept.  From any thread."""
        now = time.monotonic()
        with self._lock:
            self._order = order
            wanted = order.endpoints | order.leaving
            for endpoint in self._known.keys() - wanted:
                del self._known[endpoint]
            for endpoint in wanted - self._known.keys():
                self._known[endpoint] = state.new_record(now, was_ready=endpoint in order.was_ready)
            before, self._allocations = self._allocations, {}
            for endpoint in order.endpoints - order.leaving:
                if name := order.allocations.get(endpoint, ""):
                    known = self._allocations.get(name)
                    if known is None:
                        known = self._allocations[name] = before.get(name) or AllocationChecks(now)
                        known.endpoints = []
                    known.endpoints.append(endpoint)
            self._share(now)
        self._wake_event.set()

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
                said = summarize(self._checks.list_checks(name), self._services)
            except NomadError as trouble:
                self._fail(name, trouble, now)
            else:
                self._learn(name, said)

    def _next(self) -> tuple[float, str]:
        """Tell which allocation to ask next, and when."""
        if self._fell_back or not self._allocations:
            return NEVER, ""
        due, name = min((each.due, name) for name, each in self._allocations.items())
        return max(due, self._quiet_until), name

    # ------------------------------------------------------------------------- what is learned

    def _learn(self, name: str, said: CheckSummary) -> None:
        """Take in an answer."""
        now = time.monotonic()
        with self._lock:
            self._unanswered_since, self._failures, self._refusals = None, 0, 0
            allocation = self._allocations.get(name)
            if allocation:  # it may have been dropped meanwhile
                allocation.on_answer(said)
                self._judge(allocation, said, now)
                allocation.due = now + self._pause(allocation, now)
            self._share(now)

    def _judge(self, allocation: AllocationChecks, said: CheckSummary, now: float) -> None:
        news: dict[Endpoint, HealthState] = {}
        for endpoint in allocation.endpoints:
            before = self._known[endpoint]
            verdict = said.verdict(was_ready=before.was_ready)
            if verdict is None:
                continue
            after = state.judge(before, verdict, now, self._rise, self._fall)
            self._known[endpoint] = after
            if after.health_state is not before.health_state:
                news[endpoint] = after.health_state
        if news:
            self._post(HealthChanged(news))

    def _pause(self, allocation: AllocationChecks, now: float) -> float:
        if allocation.has_no_checks:
            return self._interval
        return min(
            state.pause(
                self._known[endpoint],
                now,
                has_fast_slot=False,
                is_leaving=False,
                endpoints_total=len(self._known),
                interval=self._interval,
                chance=chance(),
            )
            for endpoint in allocation.endpoints
        )

    def _fail(self, name: str, trouble: NomadError, asked_at: float) -> None:
        """Take in that there was no answer; 404 is one, but of somebody else's trouble."""
        now = time.monotonic()
        with self._lock:
            if _lacks_permission(trouble):
                self._refusals += 1
                self._quiet_until = now + _UNSURE_PAUSE
                if self._refusals == _SURE:
                    self._fell_back = True
                    self._post(ProbesFellBack(trouble.reason, _policy_hint(self._settings)))
            else:
                allocation = self._allocations.get(name)
                if allocation:  # others are asked before it is asked again
                    allocation.on_no_answer(asked_at)
                    allocation.due = now + self._pause(allocation, now)
                self._rest(trouble, asked_at, now)
            self._share(now)

    def _rest(self, trouble: NomadError, asked_at: float, now: float) -> None:
        """Leave Nomad alone for a while, longer each time."""
        if trouble.status == 404:
            self._unanswered_since, self._failures = None, 0
            return
        if self._unanswered_since is None:
            self._unanswered_since = asked_at
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures, 16))
        self._failures += 1
        told = min(trouble.retry_after or 0.0, _LONGEST_RETRY_AFTER)
        self._quiet_until = now + max(told, pause * (0.5 + chance() / 2))

    # ------------------------------------------------------------------- what is probed by TCP

    def _share(self, now: float) -> None:
        """Hand over to the prober what Nomad does not tell, and take back what it tells again."""
        order, endpoints = self._order, self._order.endpoints
        if not self._fell_back:
            endpoints -= {
                endpoint
                for allocation in self._allocations.values()
                if not allocation.has_no_checks
                for endpoint in allocation.endpoints
                if not (self._known[endpoint].was_ready and self._is_away(allocation, now))
            }
        if (endpoints, order.leaving) != (self._probed.endpoints, self._probed.leaving):
            watched = endpoints | order.leaving
            was_ready = frozenset(each for each in watched if self._known[each].was_ready)
            self._probed = SetProbeTargets(endpoints, order.leaving, was_ready=was_ready)
            self._prober.watch(self._probed)

    def _is_away(self, allocation: AllocationChecks, now: float) -> bool:
        limit = now - _AWAY_AFTER * self._interval
        return any(
            since is not None and since < limit
            for since in (self._unanswered_since, allocation.unanswered_since)
        )

    def _heard(self, event: Event) -> None:
        """Take in what the prober learned, in its thread."""
        assert isinstance(event, HealthChanged)
        now = time.monotonic()
        with self._lock:
            probed = self._probed.endpoints | self._probed.leaving
            news = {
                endpoint: health_state
                for endpoint, health_state in event.health_states.items()
                if endpoint in probed and self._known[endpoint].health_state is not health_state
            }
            for endpoint, health_state in news.items():
                self._known[endpoint] = state.adopted(self._known[endpoint], health_state, now)
            if news:
                self._post(HealthChanged(news))


def _lacks_permission(trouble: NomadError) -> bool:
    """
    Tell whether the token may not read jobs.
    """
    return trouble.status == 403


def _policy_hint(settings: Settings) -> str:
    """
    Return the policy to apply, and how.
    """
    namespace, job = settings.nomad_namespace, settings.nomad_job_id
    bound = f"-namespace {namespace} -job {job} " if job else ""
    return (
        f'put namespace "{namespace}" {{ capabilities = ["read-job"] }} into a file, then: '
        f"nomad acl policy apply {bound}NAME FILE"
    )
