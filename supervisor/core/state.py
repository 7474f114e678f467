"""
The state of the program, and the next instant at which an action is due without an event.
"""

from collections.abc import Mapping
from dataclasses import field

from supervisor.core import reload
from supervisor.core.commands import Command, Reply, SetProbeTargets
from supervisor.core.config.settings import Settings
from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.endpoint_set import EndpointSet
from supervisor.core.events import Disk
from supervisor.core.idle import Idle
from supervisor.core.job_move import JobMove
from supervisor.core.job_stop import JobStop
from supervisor.core.lifecycle import Lifetime
from supervisor.core.model import NEVER, View
from supervisor.core.nginx_master import Master, MasterState
from supervisor.core.reload import Rollout, Step
from supervisor.core.stats import Stats
from supervisor.core.values import value_class
from supervisor.core.worker_generations import Generations


@value_class(frozen=True, slots=True)
class State:
    """
    The state machines side by side.  Instants are seconds on the loop's clock, in `record` epoch.

    `warns_before` is how long before the deadline the next warning is due in seconds, 0 for none;
    `pending_replies` are replies that wait until the record is saved, `overdue` are the tasks that
    disks have not answered to; `files_error` is why the lock or a socket is missing.
    """

    settings: Settings
    lifetime: Lifetime
    endpoint_set: EndpointSet
    rollout: Rollout
    master: Master
    generations: Generations
    record: DeadlineRecord
    started_at: float
    poll_interval: float = 0.0
    view: View = View(0.0)
    generation_seen_at: float = -NEVER
    in_lame_duck: bool = False
    job_stop: JobStop = JobStop()
    idle: Idle = Idle()
    job_move: JobMove = JobMove()
    warnings: tuple[str, ...] = ()
    file_warnings: tuple[str, ...] = ()
    multiple_jobs: frozenset[str] = frozenset()
    probe_targets: SetProbeTargets = SetProbeTargets(frozenset())
    warns_before: float = 0.0
    is_saved: bool = True
    pending_replies: tuple[Reply, ...] = ()
    overdue: Mapping[Disk, str] = field(default_factory=dict)
    stats: Stats = Stats()
    cache_generation: str = ""
    cached_at: float = -NEVER
    files_checked_at: float = -NEVER
    files_error: str = ""

    @property
    def wake_at(self) -> float:
        """The next instant at which an action is due without an event."""
        if self.lifetime.is_ending:
            return self.lifetime.wake_at
        awaits_write = self.job_move.write is not None
        return min(
            NEVER if awaits_write else self.lifetime.wake_at,
            self.job_move.wake_at,
            self.master.boot_by,
            self.master.respawn_at,
            self.master.look_again_at,
            self.rollout.give_up_at,
            self.rollout_at,
            reload.ready_at(self.rollout),
            self.unresponsive_at,
            self.lame_duck_at,
            self.job_stop.wake_at,
            self.warn_at,
            self.endpoint_set.due_at,
            self.endpoint_set.explain_due_at,
            self.endpoint_set.cause_due_at,
            NEVER if self.rollout.wanted else self.started_at + self.settings.start_wait,
        )

    @property
    def deadline_epoch(self) -> float | None:
        """The deadline in epoch seconds, as sent to clients; None without a deadline."""
        return self.record.end

    @property
    def warn_at(self) -> float:
        """When the next warning before the deadline is due."""
        return self.lifetime.deadline - self.warns_before if self.warns_before else NEVER

    @property
    def lame_duck_at(self) -> float:
        """When to stop being ready while still serving requests; once only."""
        lead = self.settings.lame_duck
        return NEVER if self.in_lame_duck or not lead else self.lifetime.deadline - lead

    @property
    def rollout_at(self) -> float:
        """When the next attempt may begin: before the first start, or while nginx responds."""
        first_start = self.master.health is MasterState.DOWN and not self.master.ever_answered
        usable = self.master.health is MasterState.UP and not self.master.give_up_reason
        if self.generations.is_counting or not (usable or first_start):
            return NEVER
        held = self.generations.held == self.rollout.target
        return max(reload.due_at(self.rollout), self.generations.held_until if held else 0.0)

    @property
    def unresponsive_at(self) -> float:
        """When nginx, having stopped responding internally, must be reloaded; see `running`."""
        roll = self.rollout
        is_decided = roll.public_port_answers is None or (
            roll.public_port_answers and roll.relisten
        )
        if roll.step is not Step.IDLE or is_decided:
            return NEVER
        return roll.unresponsive_since + reload.UNRESPONSIVE_AFTER


Decision = tuple[State, list[Command]]
