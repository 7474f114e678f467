"""
The phases of the service, from running to ended, and the instants at which they change.

Theory: the deadline is a wall clock time, counted from the first start and stored in a small file.
While the process runs it is an instant on the loop's clock, so that a change of the wall clock does
not move it.  Once a shutdown has begun, a ladder of three instants guarantees that it completes:
nginx receives QUIT at once, TERM at the later of half the time and one second before the end, and
KILL 0.3 s before the end.  Each further stop signal advances one step.  With AT_DEADLINE=stop-job
the deadline does not begin the shutdown but the wait for Nomad's stop signal, which does (see
`job_stop`).

All instants are seconds on the loop's clock, unless their names contain `epoch`.
"""

from dataclasses import replace
from enum import StrEnum

from supervisor.core.config.settings import Settings
from supervisor.core.deadline_record import (
    DeadlineRecord,
    DeadlineSettings,
    ResolvedDeadline,
    resolve_deadline,
)
from supervisor.core.drain_ladder import DrainLadder
from supervisor.core.model import NEVER
from supervisor.core.values import value_class


class Phase(StrEnum):
    """
    The phase of the service between start and exit.
    """

    RUNNING = "running"
    ASKING = "asking"
    DRAINING = "draining"
    TERMINATING = "terminating"
    KILLING = "killing"
    ENDED = "ended"


#: The permitted changes of phase; the diagram in `docs/architecture.md` is generated from this.
CHANGES: dict[Phase, frozenset[Phase]] = {
    Phase.RUNNING: frozenset({Phase.ASKING, Phase.DRAINING, Phase.ENDED}),
    Phase.ASKING: frozenset({Phase.DRAINING, Phase.ENDED}),
    Phase.DRAINING: frozenset({Phase.TERMINATING, Phase.ENDED}),
    Phase.TERMINATING: frozenset({Phase.KILLING, Phase.ENDED}),
    Phase.KILLING: frozenset({Phase.ENDED}),
    Phase.ENDED: frozenset(),
}


#: The phases in which requests are served and changes are applied.
_SERVING = frozenset({Phase.RUNNING, Phase.ASKING})


@value_class(frozen=True, slots=True)
class Lifetime:
    """
    The phase, and the instants at which the next ones begin.

    `cut` counts the client connections that TERM closed, `lost` the requests that ended with their
    replica during the drain.
    """

    phase: Phase = Phase.RUNNING
    deadline: float = NEVER
    ladder: DrainLadder = DrainLadder()
    cut: int = 0
    lost: int = 0

    @property
    def is_ending(self) -> bool:
        """Whether the shutdown has begun; endpoint changes are ignored from then on."""
        return self.phase not in _SERVING

    @property
    def wake_at(self) -> float:
        """The instant at which the phase changes without an event."""
        return {
            Phase.RUNNING: self.deadline,
            Phase.ASKING: NEVER,  # see `job_stop`
            Phase.DRAINING: self.ladder.term_at,
            Phase.TERMINATING: self.ladder.kill_at,
            Phase.KILLING: self.ladder.gone_at,
            Phase.ENDED: NEVER,
        }[self.phase]


def enter(life: Lifetime, phase: Phase) -> Lifetime:
    """
    Change the phase, as CHANGES permits.
    """
    if phase not in CHANGES[life.phase]:
        raise AssertionError(f"internal error: {life.phase} cannot become {phase}")
    return replace(life, phase=phase)


def drain(life: Lifetime, reason: str, total: float, now: float) -> Lifetime:
    """
    Begin the shutdown: it completes within `total` seconds, the ladder included.
    """
    return replace(enter(life, Phase.DRAINING), ladder=life.ladder.begin(reason, total, now))


def stop_requested(life: Lifetime, total: float, now: float) -> Lifetime:
    """
    Count a stop signal: it begins the shutdown, or shortens the ladder.
    """
    if life.phase in _SERVING:
        life = enter(life, Phase.DRAINING)
    return replace(life, ladder=life.ladder.stop(total, now))


def resolve(settings: Settings, found: DeadlineRecord | None, wall: float) -> ResolvedDeadline:
    """
    Resolve the deadline at a start, from the settings and the record of an earlier start.
    """
    return resolve_deadline(
        DeadlineSettings(settings.ttl, settings.deadline, settings.nomad_alloc_id), found, wall
    )
