"""
How long the service lives, and how it ends.

Theory: the deadline is an instant on the wall, anchored at the first start and kept in a small
file; while the process runs it is a reading of the loop's clock, so that nobody's change of the
wall clock moves it.  Once an end has begun, a ladder of three instants guarantees that it comes:
nginx is told to QUIT at once, to TERM at the later of half-way and one second before the end,
and is killed 0.3 s before it.  Each further stop signal climbs one rung.  With
AT_DEADLINE=stop-job the deadline does not begin the end but the wait for Nomad's stop signal, which
does (see `jobstop`).

All instants are seconds on the loop's clock, unless they are called epoch.
"""

from dataclasses import dataclass, replace
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


class Phase(StrEnum):
    """
    Where the service is on its way to the end.
    """

    RUNNING = "running"
    ASKING = "asking"
    DRAINING = "draining"
    TERMINATING = "terminating"
    KILLING = "killing"
    ENDED = "ended"


#: The only ways from one phase to another; `docs/architecture.md` draws its diagram from this.
CHANGES: dict[Phase, frozenset[Phase]] = {
    Phase.RUNNING: frozenset({Phase.ASKING, Phase.DRAINING, Phase.ENDED}),
    Phase.ASKING: frozenset({Phase.DRAINING, Phase.ENDED}),
    Phase.DRAINING: frozenset({Phase.TERMINATING, Phase.ENDED}),
    Phase.TERMINATING: frozenset({Phase.KILLING, Phase.ENDED}),
    Phase.KILLING: frozenset({Phase.ENDED}),
    Phase.ENDED: frozenset(),
}


#: While these last, all is served and followed as ever.
_SERVING = frozenset({Phase.RUNNING, Phase.ASKING})


@dataclass(frozen=True, slots=True)
class Lifetime:
    """
    The phase, and the instants at which the next ones begin.
    """

    phase: Phase = Phase.RUNNING
    deadline: float = NEVER
    ladder: DrainLadder = DrainLadder()
    cut: int = 0

    @property
    def is_ending(self) -> bool:
        """Tell whether the end has begun: no endpoint change matters any more."""
        return self.phase not in _SERVING

    @property
    def wake_at(self) -> float:
        """The instant at which the phase changes by itself."""
        return {
            Phase.RUNNING: self.deadline,
            Phase.ASKING: NEVER,  # `jobstop` knows
            Phase.DRAINING: self.ladder.term_at,
            Phase.TERMINATING: self.ladder.kill_at,
            Phase.KILLING: self.ladder.gone_at,
            Phase.ENDED: NEVER,
        }[self.phase]


def enter(life: Lifetime, phase: Phase) -> Lifetime:
    """
    Change the phase, along the table only.
    """
    if phase not in CHANGES[life.phase]:
        raise AssertionError(f"internal error: {life.phase} cannot become {phase}")
    return replace(life, phase=phase)


def drain(life: Lifetime, reason: str, total: float, now: float) -> Lifetime:
    """
    Begin the end: open requests have `total` seconds, the ladder included.
    """
    return replace(enter(life, Phase.DRAINING), ladder=life.ladder.begin(reason, total, now))


def stop_requested(life: Lifetime, total: float, now: float) -> Lifetime:
    """
    Count a stop signal: it begins the end, or shortens the ladder.
    """
    if life.phase in _SERVING:
        life = enter(life, Phase.DRAINING)
    return replace(life, ladder=life.ladder.stop(total, now))


def resolve(settings: Settings, found: DeadlineRecord | None, wall: float) -> ResolvedDeadline:
    """
    Decide the deadline at a start, from the settings and what an earlier start recorded.
    """
    return resolve_deadline(
        DeadlineSettings(settings.ttl, settings.deadline, settings.nomad_alloc_id), found, wall
    )
