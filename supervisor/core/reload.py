"""
What is wanted, what is live, and when to begin the next attempt to make the one the other.

Theory: a change is applied `quiet` seconds after the first of a burst.  It is staged and checked
meanwhile; when more has changed by then, that is thrown away and done again, once.  A bucket of
three reloads, refilled at one per interval, keeps a storm of changes from becoming a storm of
reloads.  The last plan always wins.  How an attempt goes on is in `attempt`.

The operator's files are read at the start and at SIGHUP (`reread_operator_files`), and only then: an edit that is
half done must not get into a change of endpoints, nor hold it up.

All instants are seconds on the loop's clock.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from supervisor.core.model import NEVER, LiveConfig, Mode, Plan

#: Reloads that may follow each other without a pause.
BURST = 3.0

#: Nothing answering for this long is a blackout; one late answer on a busy machine is not.
UNRESPONSIVE_AFTER = 1.0

#: Old workers go on accepting for 100 ms after a reload: what they answer then is no surprise.
_AFTERGLOW = 1.0


class Step(StrEnum):
    """
    How far the attempt has come.
    """

    IDLE = "idle"
    STAGING = "staging"
    CHECKING = "checking"
    READY = "ready"
    SWAPPING = "swapping"
    LOOKING = "looking"


#: The only ways from one step to another; `docs/architecture.md` draws its diagram from this.
CHANGES: dict[Step, frozenset[Step]] = {
    Step.IDLE: frozenset({Step.STAGING, Step.SWAPPING}),
    Step.STAGING: frozenset({Step.CHECKING, Step.SWAPPING, Step.IDLE}),
    Step.CHECKING: frozenset({Step.READY, Step.IDLE}),
    Step.READY: frozenset({Step.SWAPPING, Step.IDLE}),
    Step.SWAPPING: frozenset({Step.LOOKING, Step.IDLE}),
    Step.LOOKING: frozenset({Step.IDLE}),
}


@dataclass(frozen=True, slots=True)
class Rollout:
    """
    What is wanted, what is live, and the attempt under way between the two.

    `reread_requested` asks for an attempt with the operator's files read anew, `reread_operator_files` says that the one
    under way has done so, and `operator_files_rejected` that the last one which did was refused.
    """

    quiet: float
    interval: float
    wanted: Plan | None = None
    live: LiveConfig | None = None
    step: Step = Step.IDLE
    number: int = 0
    candidate: LiveConfig | None = None
    revives: bool = False
    files_only: bool = False
    check: int = 0
    began_at: float = 0.0
    is_early: bool = False
    give_up_at: float = NEVER
    changed_at: float = NEVER
    retry_at: float = 0.0
    failures: int = 0
    force_reload: bool = False
    reread_requested: bool = False
    reread_operator_files: bool = False
    operator_files_rejected: bool = False
    tokens: float = BURST
    tokens_at: float = 0.0
    seen: str | None = None
    unresponsive_since: float = NEVER
    promoted_at: float = -NEVER


def enter(rollout: Rollout, step: Step) -> Rollout:
    """
    Change the step, along the table only.
    """
    if step not in CHANGES[rollout.step]:
        raise AssertionError(
            f"internal error: an attempt that is {rollout.step} cannot become {step}"
        )
    return replace(rollout, step=step)


def offer(rollout: Rollout, plan: Plan, now: float) -> Rollout:
    """
    Want a plan; wanting what is live already is no change.
    """
    if plan == rollout.wanted:
        return rollout
    is_live = rollout.live is not None and plan == rollout.live.plan
    changed_at = NEVER if is_live and rollout.step is Step.IDLE else min(rollout.changed_at, now)
    return replace(rollout, wanted=plan, changed_at=changed_at, retry_at=0.0, failures=0)


def request_reread(rollout: Rollout, now: float) -> Rollout:
    """
    Read the operator's files anew, and compare the live files with what they should be.
    """
    changed_at = min(rollout.changed_at, now)
    return replace(
        rollout,
        reread_requested=True,
        operator_files_rejected=False,
        retry_at=0.0,
        changed_at=changed_at,
    )


def due_at(rollout: Rollout) -> float:
    """
    Return when the next attempt begins, if nginx is up by then.
    """
    if rollout.step is not Step.IDLE or rollout.wanted is None:
        return NEVER
    same = rollout.live is not None and rollout.live.plan == rollout.wanted
    if same and not rollout.reread_requested and not rollout.force_reload:
        return NEVER
    if rollout.live is None:
        return rollout.retry_at
    if rollout.wanted.mode is Mode.DRAINING and rollout.live.plan.mode is not Mode.DRAINING:
        return rollout.retry_at  # the end is near: no time to wait for the bucket
    refilled = rollout.tokens_at + max(0.0, 1.0 - rollout.tokens) * rollout.interval
    return max(refilled, rollout.retry_at)


def is_urgent(rollout: Rollout) -> bool:
    """
    Tell whether what is wanted cannot wait: somebody leaves, or what a client is told changes.
    """
    live, wanted = rollout.live, rollout.wanted
    if live is None or wanted is None or rollout.force_reload:
        return True
    stays = frozenset(live.plan.endpoints) <= frozenset(wanted.endpoints)
    return not stays or wanted.mode is not live.plan.mode


def ready_at(rollout: Rollout) -> float:
    """
    Return when a checked attempt is applied: when the quiet time is over.
    """
    if rollout.step is not Step.READY:
        return NEVER
    return rollout.began_at + (rollout.quiet if rollout.live is not None else 0.0)


def observed(rollout: Rollout, generation: str | None, now: float) -> Rollout:
    """
    Note what nginx answers when it is not the generation that an attempt waits for.

    Silence is counted and a strange generation suspected at rest only: in an attempt, the one is
    waited out and the other is the old generation still answering.
    """
    if rollout.step is not Step.IDLE or rollout.live is None:
        return replace(rollout, seen=generation)
    if generation is None:
        return replace(rollout, seen=None, unresponsive_since=min(rollout.unresponsive_since, now))
    strange = generation != rollout.live.generation and now > rollout.promoted_at + _AFTERGLOW
    return replace(
        rollout,
        seen=generation,
        unresponsive_since=NEVER,
        force_reload=rollout.force_reload or strange,
    )


def take_token(rollout: Rollout, now: float) -> Rollout:
    """
    Take one reload from the bucket.
    """
    gained = (now - rollout.tokens_at) / rollout.interval
    tokens = min(BURST, rollout.tokens + gained)
    return replace(rollout, tokens=max(0.0, tokens - 1.0), tokens_at=now)
