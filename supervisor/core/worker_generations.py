"""
The workers of earlier configurations that still answer somebody, and whether one more may follow.

Theory: a reload starts as many workers again, and the old ones stay for as long as their longest
request takes, an hour maybe.  Each such generation costs memory and processes, and a master that
may not start new workers tells the old ones to go all the same: then nobody is left.  So their
number is bounded, the room for new ones is looked at before each reload, and a reload that does not
fit waits.  What only adds endpoints can wait; what takes one away or lets somebody serve at all
cannot: for that the oldest generation has to go, with what it still answers.

All instants are seconds on the loop's clock.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from supervisor.core.model import Plan

#: How soon to look again: while a reload waits, and for those who were told to go.
_RECOUNT_AFTER = 1.0
_FAREWELL = 0.1


class ReloadDecision(Enum):
    """
    What becomes of a reload that is due.
    """

    GO = auto()
    WAIT = auto()
    END_OLDEST = auto()


@dataclass(frozen=True, slots=True)
class Generations:
    """
    Worker processes by generation: those of the live configuration, and the draining, oldest first.

    `told` were told to go already.  `held` is the plan whose reload waits, until when it does and
    why, which is said once.
    """

    most: int
    live: frozenset[int] = frozenset()
    draining: tuple[frozenset[int], ...] = ()
    told: frozenset[int] = frozenset()
    is_counting: bool = False
    held: Plan | None = None
    held_until: float = 0.0
    why: str = ""


def counting(generations: Generations) -> Generations:
    """
    Note that the workers are being counted: until the answer comes no reload begins.
    """
    return replace(generations, is_counting=True)


def counted(generations: Generations, pids: frozenset[int]) -> Generations:
    """
    Take in which workers there are: who belongs to no draining generation is of the live one.
    """
    left = tuple(group & pids for group in generations.draining if group & pids)
    return replace(
        generations,
        live=pids - frozenset().union(*left),
        draining=left,
        told=generations.told & pids,
        is_counting=False,
    )


def succeeded(generations: Generations) -> Generations:
    """
    Note that a new generation answers: the one that was live is draining now.
    """
    old = (generations.live,) if generations.live else ()
    return replace(generations, live=frozenset(), draining=(*generations.draining, *old))


def shortage(generations: Generations, room: float, needed: int) -> str:
    """
    Return why the next reload does not fit, or nothing; `room` are processes that may be started.
    """
    if len(generations.draining) >= generations.most:
        return f"{len(generations.draining)} old generations of workers still answer (MAX_DRAINING)"
    if room < needed:
        return f"{room:.0f} more processes may be started here, and {needed} are needed"
    return ""


def decide(generations: Generations, why: str, *, is_urgent: bool) -> ReloadDecision:
    """
    Decide about a reload that is due.
    """
    if not why:
        return ReloadDecision.GO
    return ReloadDecision.END_OLDEST if is_urgent and generations.draining else ReloadDecision.WAIT


def hold(generations: Generations, plan: Plan, why: str, now: float) -> Generations:
    """
    Let the reload for a plan wait; another plan is looked at anew.
    """
    return replace(generations, held=plan, held_until=now + _RECOUNT_AFTER, why=why)


def ending_oldest(generations: Generations, plan: Plan, why: str, now: float) -> Generations:
    """
    Note that the oldest generation was told to go for a plan.
    """
    told = generations.told | generations.draining[0]
    return replace(generations, told=told, held=plan, held_until=now + _FAREWELL, why=why)


def fits(generations: Generations) -> Generations:
    """
    Note that the reload fits.
    """
    return replace(generations, held=None, held_until=0.0, why="")
