"""
The steps of one reload attempt, from a plan to a live configuration or a rollback.

Theory: every step is verified.  Stage the rendered files beside the live ones; let `nginx -t` check
exactly those bytes; swap them in atomically; send SIGHUP; and finish only when the new generation
*responds*, because a sent signal proves nothing.  After any failure the last good files are
restored.  If the old generation still responds, nothing else is needed; if there is no response,
nginx reloads the last good files (a revival), and if that does not help, `core/policy` replaces the
master.
"""

from dataclasses import replace

from supervisor.core import log_ids, reload
from supervisor.core.commands import (
    Command,
    Discard,
    MarkLastGood,
    QuitOldWorkers,
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
_MAX_RETRY_PAUSE = 30.0

Outcome = tuple[Rollout, list[Command]]


def start(
    rollout: Rollout, now: float, *, restarts: bool = False, give_up_at: float = NEVER
) -> Outcome:
    """
    Begin an attempt to apply the wanted plan; `restarts`: by a restart of nginx.

    `give_up_at` is when staging has taken too long.
    """
    live, plan, number = rollout.live, rollout.target, rollout.number + 1
    assert plan is not None
    is_live = live is not None and live.plan == plan
    began_at = min(rollout.changed_at, now)
    rotation = (0 if live is None else live.rotation) + (0 if is_live or live is None else 1)
    # If the operator's files were rejected, apply the endpoints before reading them again.
    reread_operator_files = live is None or (
        rollout.reread_requested and (is_live or not rollout.operator_files_rejected)
    )
    rollout = replace(
        enter(rollout, Step.STAGING),
        number=number,
        candidate=LiveConfig(plan, "", "", number, rotation),
        reread_operator_files=reread_operator_files,
        reread_requested=rollout.reread_requested and not reread_operator_files,
        files_only=False,
        revives=False,
        restarts=restarts,
        give_up_at=give_up_at,
        quits_old=False,
        began_at=began_at,
        is_early=live is not None and (plan != rollout.wanted or now < began_at + rollout.quiet),
        changed_at=NEVER,
    )
    return rollout, [Stage(number, plan, rotation, reread_operator_files)]


def revive(rollout: Rollout, now: float) -> Outcome:
    """
    Begin the attempt that loads the last good configuration into an unresponsive nginx.
    """
    live = rollout.live
    assert live is not None
    rollout = replace(
        enter(rollout, Step.SWAPPING),
        candidate=live,
        reread_operator_files=False,
        revives=True,
        files_only=False,
        restarts=False,
        quits_old=False,
        began_at=now,
        unresponsive_since=NEVER,
    )
    return rollout, [Restore(live)]


# ------------------------------------------------------------------------------------- steps


def staged(rollout: Rollout, event: Staged, timeout: float, now: float) -> Outcome:
    """
    Continue with staged files: check them, or end the attempt if nginx runs these bytes already.
    """
    live, candidate = rollout.live, rollout.candidate
    assert candidate is not None
    is_forced = rollout.force_reload or rollout.relisten
    if live is not None and event.digest == live.digest and not is_forced:
        if event.intact:
            idle = replace(enter(rollout, Step.IDLE), candidate=None, operator_files_rejected=False)
            return idle, [
                Discard(rollout.number),
                note("reload.unchanged", generation=live.generation),
            ]
        # Only the live files differ from what nginx runs: restore them without a reload.
        rollout = replace(enter(rollout, Step.SWAPPING), candidate=live, files_only=True)
        return rollout, [Discard(rollout.number), Restore(live)]
    candidate = replace(
        candidate,
        digest=event.digest,
        generation=event.generation,
        reuseport=event.reuseport,
    )
    rollout = replace(
        enter(rollout, Step.CHECKING), candidate=candidate, give_up_at=now + timeout, check=0
    )
    return rollout, [SpawnCheck(rollout.number)]


def checked(rollout: Rollout) -> Outcome:
    """
    Continue with files that `nginx -t` accepts: they wait for the end of the quiet time.
    """
    return replace(enter(rollout, Step.READY), give_up_at=NEVER, check=0), []


def apply(rollout: Rollout, *, give_up_at: float = NEVER) -> Outcome:
    """
    Swap in the checked files, unless the attempt began early and more has changed since.

    `give_up_at` is when the swap has taken too long.
    """
    assert rollout.candidate is not None
    if rollout.is_early and rollout.wanted != rollout.candidate.plan:
        is_live = rollout.live is not None and rollout.wanted == rollout.live.plan
        changed_at = NEVER if is_live else rollout.began_at
        idle = replace(_unfinished(rollout), changed_at=changed_at)
        return idle, [Discard(rollout.number)]
    swapping = replace(enter(rollout, Step.SWAPPING), give_up_at=give_up_at)
    return swapping, [Swap(rollout.number)]


def swapped(rollout: Rollout, now: float, timeout: float) -> Rollout:
    """
    Continue with swapped files; the caller reloads nginx, unless only the files were wrong.
    """
    if rollout.files_only:
        return replace(enter(rollout, Step.IDLE), candidate=None, operator_files_rejected=False)
    waiting = replace(take_token(rollout, now), give_up_at=now + timeout, seen=None)
    return enter(waiting, Step.LOOKING)


def promote(rollout: Rollout, now: float) -> Outcome:
    """
    Make the configuration that responds the live one.
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
        relisten=False,
        public_port_answers=None,
        unresponsive_since=NEVER,
        promoted_at=now,
    )
    quits: list[Command] = [QuitOldWorkers()] if rollout.quits_old else []
    return rollout, [*quits, MarkLastGood(live), line]


def trace(before: Rollout, after: Rollout, now: float) -> list[Command]:
    """
    Log the step that an attempt has entered, and the time since its change in seconds.
    """
    if after.step is before.step:
        return []
    # An attempt that has ended is logged with its duration, or was discarded.
    passed = None if after.step is Step.IDLE else round(now - after.began_at, 4)
    return [note("reload.step", "debug", step=after.step, number=after.number, after=passed)]


# ---------------------------------------------------------------------------------- failures


def fail(rollout: Rollout, reason: str, now: float, hint: str = "") -> Outcome:
    """
    End a failed attempt; the same plan is retried after a pause, another plan at once.
    """
    if rollout.step is not Step.LOOKING and reload.is_speculative(rollout):
        # Once it is wanted, the same plan fails again, and that is reported.
        return _unfinished(reload.expect(rollout, None)), [Discard(rollout.number)]
    failures = rollout.failures + 1
    pause = min(_MAX_RETRY_PAUSE, 2.0 ** min(failures - 1, 10))
    line = note(
        log_ids.RELOAD_FAILED,
        "error",
        result="rolled_back" if rollout.step is Step.LOOKING else "refused",
        reason=reason,
        hint=hint or None,
        why=_why(rollout),
        endpoints_kept=_endpoints_kept(rollout),
        duration=round(now - rollout.began_at, 3),
        retry_in=pause,
    )
    idle = replace(
        _unfinished(rollout),
        operator_files_rejected=rollout.operator_files_rejected or rollout.reread_operator_files,
        failures=failures,
        retry_at=now + pause,
    )
    return idle, [Discard(rollout.number), line]


def abandon(rollout: Rollout) -> Rollout:
    """
    Drop the current attempt, because its master has exited.
    """
    idle = rollout if rollout.step is Step.IDLE else _unfinished(rollout)
    return replace(idle, unresponsive_since=NEVER)


def _unfinished(rollout: Rollout) -> Rollout:
    """End an attempt without success; a request to reread the operator's files stays pending."""
    return replace(
        enter(rollout, Step.IDLE),
        candidate=None,
        reread_requested=rollout.reread_requested or rollout.reread_operator_files,
        reread_operator_files=False,
        check=0,
        give_up_at=NEVER,
    )


def _why(rollout: Rollout) -> str:
    """Describe what the current attempt changes."""
    if rollout.revives:
        return "nginx exited or stopped responding"
    assert rollout.candidate is not None
    if rollout.relisten and rollout.live and rollout.candidate.plan == rollout.live.plan:
        return "new internal sockets"
    return rollout.candidate.plan.changes(rollout.live.plan if rollout.live else None)


def _endpoints_kept(rollout: Rollout) -> int:
    return 0 if rollout.live is None else len(rollout.live.plan.endpoints)
