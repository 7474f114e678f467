"""
Probes that run by themselves, and what they posted.
"""

import time
from collections.abc import Iterable, Mapping

from supervisor.core.commands import SetProbeTargets
from supervisor.core.config import load
from supervisor.core.events import Event, HealthChanged, ProbesFellBack
from supervisor.core.model import Endpoint, HealthState
from supervisor.health import prober
from tests.support.waiting import eventually


class Probed:
    """
    What the probes said of whom, and when; give settings by their names.
    """

    def __init__(self, **environ: str) -> None:
        self.events: list[tuple[float, HealthChanged]] = []
        self.fell_back: list[ProbesFellBack] = []
        found = load.read({"SERVICE_NAME": "web", **environ}, lambda _: False)
        self.probes = prober(found, self._post, lambda _: None)
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
        Probe these and no others.
        """
        self.probes.watch(
            SetProbeTargets(
                frozenset(Endpoint(*each) for each in endpoints),
                frozenset(Endpoint(*each) for each in leaving),
                {Endpoint(*each): name for each, name in (allocations or {}).items()},
                frozenset(Endpoint(*each) for each in was_ready),
            )
        )

    def history(self, endpoint: tuple[str, int]) -> list[str]:
        """
        Return all that was said of an endpoint, in order.
        """
        return [
            event.health_states[Endpoint(*endpoint)].value
            for _, event in list(self.events)
            if endpoint in event.health_states
        ]

    def becomes(
        self, endpoint: tuple[str, int], condition: HealthState, within: float = 10.0
    ) -> list[str]:
        """
        Wait until this is what was said last of an endpoint, and return all that was said.
        """

        def said() -> list[str]:
            history = self.history(endpoint)
            assert history
            assert history[-1] == condition.value, history
            return history

        return eventually(said, within, every=0.002)

    def told_at(self, endpoint: tuple[str, int], condition: HealthState) -> float:
        """
        Return when a condition was told first.
        """
        return next(
            at
            for at, event in self.events
            if event.health_states.get(Endpoint(*endpoint)) is condition
        )
