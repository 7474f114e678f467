"""
The workers of earlier configurations that still drain, and whether another reload may begin.

Theory: a reload starts a new set of workers, and the old ones stay for the duration of their
longest request, possibly an hour.  Each such generation costs memory and processes, and a master
that cannot start new workers stops the old ones anyway, which leaves none.  So the number of
generations is limited, the free process slots are counted before each reload, and a reload that
does not fit waits.  A change that only adds endpoints can wait.  A change that removes an endpoint
or changes the mode cannot: for it the oldest generation is ended, with its open requests.  If there
is none, and nothing is served that a restart could interrupt, nginx is restarted: a limit that
never leaves room for two sets of workers would otherwise mean 503 for ever.

All instants are seconds on the loop's clock.
"""

from dataclasses import replace
from enum import Enum, auto

from supervisor.core.model import Plan
from supervisor.core.values import value_class

#: Seconds until the workers are counted again: while a reload waits, and after the oldest
#: generation was signalled.
_RECOUNT_AFTER = 1.0
_RECOUNT_AFTER_SIGNAL = 0.1


class ReloadDecision(Enum):
    """
    The decision about a reload that is due.
    """

    GO = auto()
    WAIT = auto()
    END_OLDEST = auto()
    RESTART = auto()


@value_class(frozen=True, slots=True)
class Generations:
    """
    The worker processes of the live generation and of the draining ones, oldest first.

    `max_draining` limits the draining generations.  `signalled` workers received a signal to exit.
    `held` is the plan whose reload waits until `held_until`; `why` is the reason, logged
    once.
    """

    max_draining: int
    live: frozenset[int] = frozenset()
    draining: tuple[frozenset[int], ...] = ()
    signalled: frozenset[int] = frozenset()
    is_counting: bool = False
    held: Plan | None = None
    held_until: float = 0.0
    why: str = ""


def counting(generations: Generations) -> Generations:
    """
    Record that the workers are being counted; no reload begins until the result arrives.
    """
    return replace(generations, is_counting=True)


def counted(generations: Generations, pids: frozenset[int]) -> Generations:
    """
    Apply a count of the workers; a worker of no draining generation belongs to the live one.
    """
    draining = tuple(group & pids for group in generations.draining if group & pids)
    return replace(
        generations,
        live=pids - frozenset().union(*draining),
        draining=draining,
        signalled=generations.signalled & pids,
        is_counting=False,
    )


def succeeded(generations: Generations) -> Generations:
    """
    Record that a new generation responds; the previous live one now drains.
    """
    old = (generations.live,) if generations.live else ()
    return replace(generations, live=frozenset(), draining=(*generations.draining, *old))


def shortage(generations: Generations, free_slots: float, needed: int) -> str:
    """
    Return why the next reload does not fit, or an empty string.

    `free_slots` is the number of processes that may be started.
    """
    if len(generations.draining) >= generations.max_draining:
        return f"{len(generations.draining)} old generations of workers still drain (MAX_DRAINING)"
    if free_slots < needed:
        return f"a reload needs {needed} more processes, but only {free_slots:.0f} can be started"
    return ""


def decide(
    generations: Generations, why: str, *, is_urgent: bool, may_restart: bool = False
) -> ReloadDecision:
    """
    Decide about a due reload; `why` is the reason why it does not fit, if any.

    `may_restart`: a restart of nginx fits and interrupts no endpoint.
    """
    if not why:
        return ReloadDecision.GO
    if generations.draining:
        return ReloadDecision.END_OLDEST if is_urgent else ReloadDecision.WAIT
    return ReloadDecision.RESTART if may_restart else ReloadDecision.WAIT


def hold(generations: Generations, plan: Plan, why: str, now: float) -> Generations:
    """
    Hold the reload for a plan; another plan is decided separately.
    """
    return replace(generations, held=plan, held_until=now + _RECOUNT_AFTER, why=why)


def ending_oldest(generations: Generations, plan: Plan, why: str, now: float) -> Generations:
    """
    Record that the oldest generation was signalled to make way for a plan.
    """
    return replace(
        generations,
        signalled=generations.signalled | generations.draining[0],
        held=plan,
        held_until=now + _RECOUNT_AFTER_SIGNAL,
        why=why,
    )


def fits(generations: Generations) -> Generations:
    """
    Record that the reload fits; nothing is held any more.
    """
    return replace(generations, held=None, held_until=0.0, why="")
