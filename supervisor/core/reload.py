"""
The wanted plan, the live configuration, and when the next reload attempt begins.

Theory: a change is applied `quiet` seconds after the first of a burst.  It is staged and checked
meanwhile; if more has changed by then, the attempt is discarded and repeated, once.  While new
endpoints wait for their first probes, the plan that serves all of them is staged and checked; it is
applied if the probes agree, and discarded if not.  A token bucket
of three reloads, refilled at one per interval, limits the rate of reloads.  The last plan always
wins.  `reload_attempt` has the steps of an attempt.

The operator's files are read only at the start and on SIGHUP (`reread_operator_files`), so that an
unfinished edit neither becomes part of a change of endpoints nor delays it.

All instants are seconds on the loop's clock.
"""

from dataclasses import replace
from enum import StrEnum

from supervisor.core.model import NEVER, LiveConfig, Mode, Plan
from supervisor.core.values import value_class

#: The number of reloads without a pause between them.
BURST = 3.0

#: No response for this many seconds counts as an outage; one late response does not.
UNRESPONSIVE_AFTER = 1.0

#: Old workers accept connections for 100 ms after a reload, so an old generation is expected for
#: this many seconds.
_OLD_GENERATION_EXPECTED = 1.0


class Step(StrEnum):
    """
    The step of the current attempt.
    """

    IDLE = "idle"
    STAGING = "staging"
    CHECKING = "checking"
    READY = "ready"
    SWAPPING = "swapping"
    LOOKING = "looking"


#: The permitted changes of step; the diagram in `docs/architecture.md` is generated from this.
CHANGES: dict[Step, frozenset[Step]] = {
    Step.IDLE: frozenset({Step.STAGING, Step.SWAPPING}),
    Step.STAGING: frozenset({Step.CHECKING, Step.SWAPPING, Step.IDLE}),
    Step.CHECKING: frozenset({Step.READY, Step.IDLE}),
    Step.READY: frozenset({Step.SWAPPING, Step.IDLE}),
    Step.SWAPPING: frozenset({Step.LOOKING, Step.IDLE}),
    Step.LOOKING: frozenset({Step.IDLE}),
}


@value_class(frozen=True, slots=True)
class Rollout:
    """
    The wanted plan, the live configuration, and the current attempt.

    `reread_requested` requests an attempt that rereads the operator's files; if
    `reread_operator_files` is set, the current attempt does so; if `operator_files_rejected` is
    set, the last attempt that did so was refused.  `files_only` is set if only the live files must
    be restored, without a reload.  `restarts` is set if the current attempt restarts nginx instead
    of reloading it.  `force_reload` reloads even if the files are unchanged; so does `relisten`,
    because only a reload creates lost internal sockets again, but it can wait.
    `public_port_answers` is whether clients were answered while the internal socket was silent.
    `expected` is the plan that will be wanted if all awaited probes pass.  `quits_old` is set if
    the old workers are to accept no more connections as soon as the new generation responds.
    """

    quiet: float
    interval: float
    wanted: Plan | None = None
    expected: Plan | None = None
    live: LiveConfig | None = None
    step: Step = Step.IDLE
    number: int = 0
    candidate: LiveConfig | None = None
    revives: bool = False
    files_only: bool = False
    restarts: bool = False
    quits_old: bool = False
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
    relisten: bool = False
    public_port_answers: bool | None = None
    promoted_at: float = -NEVER

    @property
    def target(self) -> Plan | None:
        """The plan that the next attempt prepares."""
        return self.wanted if self.expected is None else self.expected


def enter(rollout: Rollout, step: Step) -> Rollout:
    """
    Change the step, as CHANGES permits.
    """
    if step not in CHANGES[rollout.step]:
        raise AssertionError(
            f"internal error: an attempt that is {rollout.step} cannot become {step}"
        )
    return replace(rollout, step=step)


def offer(rollout: Rollout, plan: Plan, now: float) -> Rollout:
    """
    Set the wanted plan; a plan that is live already is no change.
    """
    is_prepared = is_speculative(rollout) and plan == rollout.expected
    rollout = expect(rollout, None)
    if plan == rollout.wanted:
        return rollout
    if is_prepared:
        return replace(rollout, wanted=plan, retry_at=0.0, failures=0)
    is_live = rollout.live is not None and plan == rollout.live.plan
    changed_at = NEVER if is_live and rollout.step is Step.IDLE else min(rollout.changed_at, now)
    return replace(rollout, wanted=plan, changed_at=changed_at, retry_at=0.0, failures=0)


def expect(rollout: Rollout, plan: Plan | None) -> Rollout:
    """
    Set the plan that will be wanted if all awaited probes pass; None if none is awaited.
    """
    return rollout if plan == rollout.expected else replace(rollout, expected=plan)


def is_speculative(rollout: Rollout) -> bool:
    """
    Whether the current attempt prepares the expected plan, which is not wanted yet.
    """
    candidate = rollout.candidate
    return candidate is not None and candidate.plan == rollout.expected != rollout.wanted


def request_reread(rollout: Rollout, now: float) -> Rollout:
    """
    Request an attempt that rereads the operator's files and checks the live files for changes.
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
    Return when the next attempt is due, provided that nginx is up.
    """
    target = rollout.target
    if rollout.step is not Step.IDLE or target is None:
        return NEVER
    is_live = rollout.live is not None and rollout.live.plan == target
    is_forced = rollout.reread_requested or rollout.force_reload or rollout.relisten
    if is_live and not is_forced:
        return NEVER
    if rollout.live is None:
        return rollout.retry_at
    if target.mode is Mode.DRAINING and rollout.live.plan.mode is not Mode.DRAINING:
        return rollout.retry_at  # the deadline is near: do not wait for the token bucket
    refilled_at = rollout.tokens_at + max(0.0, 1.0 - rollout.tokens) * rollout.interval
    return max(refilled_at, rollout.retry_at)


def is_urgent(rollout: Rollout) -> bool:
    """
    Return whether the wanted plan cannot wait: it removes an endpoint or changes the mode.
    """
    live, wanted = rollout.live, rollout.wanted
    if live is None or wanted is None or rollout.force_reload:
        return True
    keeps_all = frozenset(live.plan.endpoints) <= frozenset(wanted.endpoints)
    return not keeps_all or wanted.mode is not live.plan.mode


def ready_at(rollout: Rollout) -> float:
    """
    Return when a checked attempt is applied: at the end of the quiet time, and after the probes.
    """
    if rollout.step is not Step.READY or is_speculative(rollout):
        return NEVER
    return rollout.began_at + (rollout.quiet if rollout.live is not None else 0.0)


def observed(
    rollout: Rollout, generation: str | None, now: float, *, public_port_answers: bool | None
) -> Rollout:
    """
    Record a reported generation that is not the one an attempt waits for.

    No response and an unexpected generation matter only without an attempt: during one, nginx is
    given time to respond, and the old generation may still do so.
    """
    if generation is not None:
        rollout = replace(rollout, public_port_answers=None)
    elif public_port_answers is not None:
        rollout = replace(rollout, public_port_answers=public_port_answers)
    if rollout.step is not Step.IDLE or rollout.live is None:
        return replace(rollout, seen=generation)
    if generation is None:
        return replace(rollout, seen=None, unresponsive_since=min(rollout.unresponsive_since, now))
    is_expected = (
        generation == rollout.live.generation
        or now <= rollout.promoted_at + _OLD_GENERATION_EXPECTED
    )
    return replace(
        rollout,
        seen=generation,
        unresponsive_since=NEVER,
        force_reload=rollout.force_reload or not is_expected,
    )


def take_token(rollout: Rollout, now: float) -> Rollout:
    """
    Take one reload from the bucket.
    """
    gained = (now - rollout.tokens_at) / rollout.interval
    tokens = min(BURST, rollout.tokens + gained)
    return replace(rollout, tokens=max(0.0, tokens - 1.0), tokens_at=now)
