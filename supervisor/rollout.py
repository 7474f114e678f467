"""
How a plan becomes what nginx serves, or is taken back.

Theory: one attempt at a time, and every step has a witness.  Stage the rendered files beside the
live ones; let `nginx -t` read exactly those bytes; swap them in at one instant; SIGHUP; and call it
done when the new generation *answers*, because a signal sent proves nothing.  Whatever fails, the
last good files come back.  If the old generation still answers, that is all; if nothing answers,
nginx is told to reload the last good files (a revival), and if that does not help either the policy
replaces the master.

A change is applied `quiet` seconds after the first of a burst.  It is staged and checked meanwhile;
when more has changed by then, that is thrown away and done again, once.  A bucket of three reloads,
refilled at one per interval, keeps a storm of changes from becoming a storm of reloads.  The last
plan always wins.  All instants are seconds on the loop's clock.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from supervisor.messages import Discard, Keep, Order, Restore, SpawnCheck, Stage, Staged, Swap, note
from supervisor.model import Live, Plan

NEVER = math.inf

#: Reloads that may follow each other without a pause, and the longest pause between retries.
BURST = 3.0
_LONGEST_RETRY = 30.0

#: Nothing answering for this long is a blackout; one late answer on a busy machine is not.
DARK = 1.0

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
    """

    quiet: float
    interval: float
    wanted: Plan | None = None
    live: Live | None = None
    step: Step = Step.IDLE
    number: int = 0
    trying: Live | None = None
    revives: bool = False
    silent: bool = False
    check: int = 0
    began_at: float = 0.0
    is_early: bool = False
    give_up_at: float = NEVER
    changed_at: float = NEVER
    retry_at: float = 0.0
    failures: int = 0
    forced: bool = False
    recheck: bool = False
    tokens: float = BURST
    tokens_at: float = 0.0
    seen: str | None = None
    dark_since: float = NEVER
    promoted_at: float = -NEVER


Outcome = tuple[Rollout, list[Order]]


def enter(rollout: Rollout, step: Step) -> Rollout:
    """
    Change the step, along the table only.
    """
    if step not in CHANGES[rollout.step]:
        raise AssertionError(
            f"internal error: an attempt that is {rollout.step} cannot become {step}"
        )
    return replace(rollout, step=step)


# -------------------------------------------------------------------------------- when to begin


def offer(rollout: Rollout, plan: Plan, now: float) -> Rollout:
    """
    Want a plan; wanting what is live already is no change.
    """
    if plan == rollout.wanted:
        return rollout
    is_live = rollout.live is not None and plan == rollout.live.plan
    changed_at = NEVER if is_live and rollout.step is Step.IDLE else min(rollout.changed_at, now)
    return replace(rollout, wanted=plan, changed_at=changed_at, retry_at=0.0, failures=0)


def ask_again(rollout: Rollout, now: float) -> Rollout:
    """
    Compare the live files with what they should be, byte by byte, though the plan is the same.
    """
    return replace(rollout, recheck=True, retry_at=0.0, changed_at=min(rollout.changed_at, now))


def due_at(rollout: Rollout) -> float:
    """
    Return when the next attempt begins, if nginx is up by then.
    """
    if rollout.step is not Step.IDLE or rollout.wanted is None:
        return NEVER
    same = rollout.live is not None and rollout.live.plan == rollout.wanted
    if same and not rollout.recheck and not rollout.forced:
        return NEVER
    if rollout.live is None:
        return rollout.retry_at
    refilled = rollout.tokens_at + max(0.0, 1.0 - rollout.tokens) * rollout.interval
    return max(refilled, rollout.retry_at)


def ready_at(rollout: Rollout) -> float:
    """
    Return when a checked attempt is applied: when the quiet time is over.
    """
    if rollout.step is not Step.READY:
        return NEVER
    return rollout.began_at + (rollout.quiet if rollout.live is not None else 0.0)


def begin(rollout: Rollout, now: float) -> Outcome:
    """
    Begin an attempt at what is wanted.
    """
    live, plan, number = rollout.live, rollout.wanted, rollout.number + 1
    assert plan is not None
    same = live is not None and live.plan == plan
    began_at = min(rollout.changed_at, now)
    turn = (0 if live is None else live.turn) + (0 if same or live is None else 1)
    rollout = replace(
        enter(rollout, Step.STAGING),
        number=number,
        trying=Live(plan, "", "", number, turn),
        recheck=False,
        silent=False,
        revives=False,
        began_at=began_at,
        is_early=live is not None and now < began_at + rollout.quiet,
        changed_at=NEVER,
    )
    return rollout, [Stage(number, plan, turn)]


def revive(rollout: Rollout, now: float) -> Outcome:
    """
    Begin the attempt that puts the last good configuration back into an nginx gone dark.
    """
    live = rollout.live
    assert live is not None
    rollout = replace(
        enter(rollout, Step.SWAPPING),
        trying=live,
        revives=True,
        silent=False,
        began_at=now,
        dark_since=NEVER,
    )
    return rollout, [Restore(live)]


# --------------------------------------------------------------------------- how it goes on


def staged(rollout: Rollout, event: Staged, patience: float, now: float) -> Outcome:
    """
    Go on with staged files: to the check, or nowhere when nginx runs these very bytes already.
    """
    live, trying = rollout.live, rollout.trying
    assert trying is not None
    if live is not None and event.digest == live.digest and not rollout.forced:
        if event.intact:
            rest = replace(enter(rollout, Step.IDLE), trying=None)
            return rest, [
                Discard(rollout.number),
                note("reload.unnecessary", generation=live.generation),
            ]
        # Only the files differ from what nginx runs: put them back, and signal nobody.
        rollout = replace(enter(rollout, Step.SWAPPING), trying=live, silent=True)
        return rollout, [Discard(rollout.number), Restore(live)]
    trying = replace(trying, digest=event.digest, generation=event.generation)
    rollout = replace(
        enter(rollout, Step.CHECKING), trying=trying, give_up_at=now + patience, check=0
    )
    return rollout, [SpawnCheck(rollout.number)]


def checked(rollout: Rollout) -> Outcome:
    """
    Go on with files that `nginx -t` accepts: they wait until the quiet time is over.
    """
    return replace(enter(rollout, Step.READY), give_up_at=NEVER, check=0), []


def apply(rollout: Rollout) -> Outcome:
    """
    Swap in what was checked, unless it was begun early and more has changed since.
    """
    assert rollout.trying is not None
    if rollout.is_early and rollout.wanted != rollout.trying.plan:
        back = rollout.live is not None and rollout.wanted == rollout.live.plan
        changed_at = NEVER if back else rollout.began_at
        rest = replace(enter(rollout, Step.IDLE), trying=None, changed_at=changed_at)
        return rest, [Discard(rollout.number)]
    return enter(rollout, Step.SWAPPING), [Swap(rollout.number)]


def swapped(rollout: Rollout, now: float, patience: float) -> Rollout:
    """
    Go on with live files; the caller makes nginx read them, unless only the files were wrong.
    """
    if rollout.silent:
        return replace(enter(rollout, Step.IDLE), trying=None)
    spent = replace(_refill(rollout, now), give_up_at=now + patience, seen=None)
    spent = replace(spent, tokens=max(0.0, spent.tokens - 1.0))
    return enter(spent, Step.LOOKING)


def promote(rollout: Rollout, now: float) -> Outcome:
    """
    Take what answers as the live configuration.
    """
    assert rollout.trying is not None
    live, took = rollout.trying, now - rollout.began_at
    said = note(
        "reload.revived" if rollout.revives else "reload.applied",
        endpoints=len(live.plan.endpoints),
        mode=live.plan.mode,
        plan=live.plan.fingerprint,
        generation=live.generation,
        took=round(took, 3),
    )
    rollout = replace(
        enter(rollout, Step.IDLE),
        live=live,
        trying=None,
        give_up_at=NEVER,
        failures=0,
        retry_at=0.0,
        forced=False,
        dark_since=NEVER,
        promoted_at=now,
    )
    return rollout, [Keep(live), said]


def looked(rollout: Rollout, generation: str | None, now: float) -> Rollout:
    """
    Note what nginx answers when it is not the generation that an attempt waits for.

    Silence is counted and a strange generation suspected at rest only: in an attempt, the one is
    waited out and the other is the old generation still answering.
    """
    if rollout.step is not Step.IDLE or rollout.live is None:
        return replace(rollout, seen=generation)
    if generation is None:
        return replace(rollout, seen=None, dark_since=min(rollout.dark_since, now))
    strange = generation != rollout.live.generation and now > rollout.promoted_at + _AFTERGLOW
    return replace(rollout, seen=generation, dark_since=NEVER, forced=rollout.forced or strange)


# ------------------------------------------------------------------------------ how it fails


def fail(rollout: Rollout, reason: str, now: float) -> Outcome:
    """
    End an attempt that did not work; the same plan is tried again later, another one at once.
    """
    failures = rollout.failures + 1
    pause = min(_LONGEST_RETRY, 2.0 ** min(failures - 1, 10))
    said = note("reload.failed", "error", reason=reason, keeping=_kept(rollout), retry_in=pause)
    live, trying = rollout.live, rollout.trying
    # With the plan that is live it was about files, and nothing else would ask for them again.
    files = live is not None and trying is not None and trying.plan == live.plan
    rest = replace(
        enter(rollout, Step.IDLE),
        trying=None,
        recheck=rollout.recheck or (files and not rollout.revives),
        check=0,
        give_up_at=NEVER,
        failures=failures,
        retry_at=now + pause,
    )
    return rest, [Discard(rollout.number), said]


def abandon(rollout: Rollout) -> Rollout:
    """
    Forget the attempt under way: the master it was meant for is gone.
    """
    rest = rollout if rollout.step is Step.IDLE else enter(rollout, Step.IDLE)
    return replace(rest, trying=None, check=0, give_up_at=NEVER, dark_since=NEVER)


def _kept(rollout: Rollout) -> int:
    return 0 if rollout.live is None else len(rollout.live.plan.endpoints)


def _refill(rollout: Rollout, now: float) -> Rollout:
    gained = (now - rollout.tokens_at) / rollout.interval
    return replace(rollout, tokens=min(BURST, rollout.tokens + gained), tokens_at=now)
