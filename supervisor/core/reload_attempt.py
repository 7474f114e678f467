"""
How one attempt goes from a plan to what nginx serves, or is taken back.

Theory: every step has a witness.  Stage the rendered files beside the live ones; let `nginx -t`
read exactly those bytes; swap them in at one instant; SIGHUP; and call it done when the new
generation *answers*, because a signal sent proves nothing.  Whatever fails, the last good files
come back.  If the old generation still answers, that is all; if nothing answers, nginx is told to
reload the last good files (a revival), and if that does not help either, the policy replaces the
master.
"""

from dataclasses import replace

from supervisor.core import log_ids
from supervisor.core.commands import (
    Command,
    Discard,
    MarkLastGood,
    Restore,
    SpawnCheck,
    Stage,
    Swap,
    note,
)
from supervisor.core.events import Staged
from supervisor.core.model import NEVER, LiveConfig
from supervisor.core.reload import Rollout, Step, enter, take_token

#: The longest pause between retries, in seconds.
_LONGEST_RETRY = 30.0

Outcome = tuple[Rollout, list[Command]]


def start(rollout: Rollout, now: float) -> Outcome:
    """
    Begin an attempt at what is wanted.
    """
    live, plan, number = rollout.live, rollout.wanted, rollout.number + 1
    assert plan is not None
    same = live is not None and live.plan == plan
    began_at = min(rollout.changed_at, now)
    rotation = (0 if live is None else live.rotation) + (0 if same or live is None else 1)
    # After a refusal the operator's files have to wait until the endpoints are right.
    reread_operator_files = live is None or (
        rollout.reread_requested and (same or not rollout.operator_files_rejected)
    )
    rollout = replace(
        enter(rollout, Step.STAGING),
        number=number,
        candidate=LiveConfig(plan, "", "", number, rotation),
        reread_operator_files=reread_operator_files,
        reread_requested=rollout.reread_requested and not reread_operator_files,
        files_only=False,
        revives=False,
        began_at=began_at,
        is_early=live is not None and now < began_at + rollout.quiet,
        changed_at=NEVER,
    )
    return rollout, [Stage(number, plan, rotation, reread_operator_files)]


def revive(rollout: Rollout, now: float) -> Outcome:
    """
    Begin the attempt that puts the last good configuration back into an nginx gone dark.
    """
    live = rollout.live
    assert live is not None
    rollout = replace(
        enter(rollout, Step.SWAPPING),
        candidate=live,
        reread_operator_files=False,
        revives=True,
        files_only=False,
        began_at=now,
        unresponsive_since=NEVER,
    )
    return rollout, [Restore(live)]


# --------------------------------------------------------------------------- how it goes on


def staged(rollout: Rollout, event: Staged, patience: float, now: float) -> Outcome:
    """
    Go on with staged files: to the check, or nowhere when nginx runs these very bytes already.
    """
    live, candidate = rollout.live, rollout.candidate
    assert candidate is not None
    if live is not None and event.digest == live.digest and not rollout.force_reload:
        if event.intact:
            rest = replace(enter(rollout, Step.IDLE), candidate=None, operator_files_rejected=False)
            return rest, [
                Discard(rollout.number),
                note("reload.unchanged", generation=live.generation),
            ]
        # Only the files differ from what nginx runs: put them back, and signal nobody.
        rollout = replace(enter(rollout, Step.SWAPPING), candidate=live, files_only=True)
        return rollout, [Discard(rollout.number), Restore(live)]
    candidate = replace(candidate, digest=event.digest, generation=event.generation)
    rollout = replace(
        enter(rollout, Step.CHECKING), candidate=candidate, give_up_at=now + patience, check=0
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
    assert rollout.candidate is not None
    if rollout.is_early and rollout.wanted != rollout.candidate.plan:
        back = rollout.live is not None and rollout.wanted == rollout.live.plan
        changed_at = NEVER if back else rollout.began_at
        rest = replace(_again(rollout), changed_at=changed_at)
        return rest, [Discard(rollout.number)]
    return enter(rollout, Step.SWAPPING), [Swap(rollout.number)]


def swapped(rollout: Rollout, now: float, patience: float) -> Rollout:
    """
    Go on with live files; the caller makes nginx read them, unless only the files were wrong.
    """
    if rollout.files_only:
        return replace(enter(rollout, Step.IDLE), candidate=None, operator_files_rejected=False)
    waiting = replace(take_token(rollout, now), give_up_at=now + patience, seen=None)
    return enter(waiting, Step.LOOKING)


def promote(rollout: Rollout, now: float) -> Outcome:
    """
    Take what answers as the live configuration.
    """
    assert rollout.candidate is not None
    live, duration = rollout.candidate, now - rollout.began_at
    line = note(
        log_ids.RELOAD_REVIVED if rollout.revives else log_ids.RELOAD_APPLIED,
        endpoints=len(live.plan.endpoints),
        mode=live.plan.mode,
        plan=live.plan.fingerprint,
        generation=live.generation,
        duration=round(duration, 3),
        why=_why(rollout),
    )
    rollout = replace(
        enter(rollout, Step.IDLE),
        live=live,
        candidate=None,
        operator_files_rejected=rollout.operator_files_rejected
        and not rollout.reread_operator_files,
        give_up_at=NEVER,
        failures=0,
        retry_at=0.0,
        force_reload=False,
        unresponsive_since=NEVER,
        promoted_at=now,
    )
    return rollout, [MarkLastGood(live), line]


# ------------------------------------------------------------------------------ how it fails


def fail(rollout: Rollout, reason: str, now: float) -> Outcome:
    """
    End an attempt that did not work; the same plan is tried again later, another one at once.
    """
    failures = rollout.failures + 1
    pause = min(_LONGEST_RETRY, 2.0 ** min(failures - 1, 10))
    line = note(
        log_ids.RELOAD_FAILED,
        "error",
        result="rolled_back" if rollout.step is Step.LOOKING else "refused",
        reason=reason,
        why=_why(rollout),
        endpoints_kept=_kept(rollout),
        duration=round(now - rollout.began_at, 3),
        retry_in=pause,
    )
    rest = replace(
        _again(rollout),
        operator_files_rejected=rollout.operator_files_rejected or rollout.reread_operator_files,
        failures=failures,
        retry_at=now + pause,
    )
    return rest, [Discard(rollout.number), line]


def abandon(rollout: Rollout) -> Rollout:
    """
    Forget the attempt under way: the master it was meant for is gone.
    """
    rest = rollout if rollout.step is Step.IDLE else _again(rollout)
    return replace(rest, unresponsive_since=NEVER)


def _again(rollout: Rollout) -> Rollout:
    """End an attempt without its fruit: what it was begun for is still asked for."""
    return replace(
        enter(rollout, Step.IDLE),
        candidate=None,
        reread_requested=rollout.reread_requested or rollout.reread_operator_files,
        reread_operator_files=False,
        check=0,
        give_up_at=NEVER,
    )


def _why(rollout: Rollout) -> str:
    """Say what the attempt under way is to change."""
    if rollout.revives:
        return "nginx had died or gone silent"
    assert rollout.candidate is not None
    return rollout.candidate.plan.changes(rollout.live.plan if rollout.live else None)


def _kept(rollout: Rollout) -> int:
    return 0 if rollout.live is None else len(rollout.live.plan.endpoints)
