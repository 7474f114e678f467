"""
The health checks without the rest of the program, and the events they posted.
"""

import time
from collections.abc import Iterable, Mapping

from supervisor.core.commands import ProbeNow, SetProbeTargets
from supervisor.core.config import load
from supervisor.core.events import Event, HealthChanged, ProbesFellBack
from supervisor.core.model import Endpoint, HealthState
from supervisor.health import prober
from tests.support.waiting import eventually


class ProbeRecorder:
    """
    Runs the health checks with the given settings and records their events with the time.
    """

    def __init__(self, **environ: str) -> None:
        self.events: list[tuple[float, HealthChanged]] = []
        self.fell_back: list[ProbesFellBack] = []
        settings = load.read({"SERVICE_NAME": "web", **environ}, lambda _: False)
        self.probes = prober(settings, self._post, lambda _: None)
        self.probes.start()

    def _post(self, event: Event) -> None:
        if isinstance(event, HealthChanged):
            self.events.append((time.monotonic(), event))
        if isinstance(event, ProbesFellBack):
            self.fell_back.append(event)

    def watch(
        self,
        *endpoints: tuple[str, int],
        leaving: Iterable[tuple[str, int]] = (),
        was_ready: Iterable[tuple[str, int]] = (),
        allocations: Mapping[tuple[str, int], str] | None = None,
    ) -> None:
        """
        Set the targets.
        """
        self.probes.watch(
            SetProbeTargets(
                frozenset(Endpoint(*each) for each in endpoints),
                frozenset(Endpoint(*each) for each in leaving),
                {Endpoint(*each): name for each, name in (allocations or {}).items()},
                frozenset(Endpoint(*each) for each in was_ready),
            )
        )

    def suspect(self, *endpoints: tuple[str, int]) -> None:
        """
        Report that nginx cannot connect to these.
        """
        self.probes.probe(ProbeNow(frozenset(Endpoint(*each) for each in endpoints)))

    def history(self, endpoint: tuple[str, int]) -> list[str]:
        """
        Return all reported states of an endpoint, in order.
        """
        return [
            event.health_states[Endpoint(*endpoint)].value
            for _, event in list(self.events)
            if endpoint in event.health_states
        ]

    def wait_for(
        self, endpoint: tuple[str, int], state: HealthState, within: float = 10.0
    ) -> list[str]:
        """
        Wait until this is the last reported state of an endpoint; return all of them.
        """

        def reported() -> list[str]:
            history = self.history(endpoint)
            assert history
            assert history[-1] == state.value, history
            return history

        return eventually(reported, within, every=0.002)

    def reported_at(self, endpoint: tuple[str, int], state: HealthState) -> float:
        """
        Return when a state was first reported.
        """
        return next(
            at for at, event in self.events if event.health_states.get(Endpoint(*endpoint)) is state
        )
