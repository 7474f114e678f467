"""
The deadline of one run, moved by the job's variable while the command runs.

A deadline that passed before it was read is due at the reading: the balancer drains from its own
reading on.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Callable

from supervisor.core.durations import format_instant
from supervisor.core.job_deadline import BY_JOB, follow
from supervisor.system.clock import boot_clock

if TYPE_CHECKING:
    from supervisor.cli.exec.job_variable import Follower
    from supervisor.cli.exec.log import StderrLog
    from supervisor.core.deadline_record import DeadlineRecord

#: A deadline that was read this long after it had passed was read late, in seconds.
_LATE = 1.0


class Deadline:
    """
    The deadline `at` an instant of the boot clock; `is_late` if it had passed when it was read.

    `save` writes a changed record.
    """

    def __init__(
        self,
        record: DeadlineRecord,
        at: float,
        *,
        max_ttl: float | None,
        follower: Follower | None,
        log: StderrLog,
        save: Callable[[DeadlineRecord], None],
    ) -> None:
        self.at = at
        self.is_late = False
        self._record = record
        self._max_ttl = max_ttl
        self._follower = follower
        self._log = log
        self._save = save

    def update(self) -> bool:
        """
        Apply what the follower has read; return whether the deadline has moved.
        """
        if self._follower is None:
            return False
        self._report_failure(self._follower)
        before = self._record
        for variable in self._follower.take():
            followed = follow(self._record, variable, self._max_ttl)
            if followed.problem:
                self._log.emit("deadline.not_moved", "warning", reason=followed.problem)
            if followed.record.end != self._record.end:
                end, now = followed.record.end, boot_clock()
                left = math.inf if end is None else end - time.time()
                self.at, self.is_late = now + max(0.0, left), left < -_LATE
                self._log.emit(
                    "deadline.moved",
                    was=_shown(self._record.end),
                    deadline=_shown(end),
                    remaining=None if end is None else round(max(0.0, left)),
                    moved_by=None if variable is None else variable.moved_by or "hand",
                    origin=followed.record.origin if followed.record.moved_by != BY_JOB else None,
                )
            self._record = followed.record
        if self._record != before:
            self._save(self._record)
        return self._record.end != before.end

    def _report_failure(self, follower: Follower) -> None:
        reason = follower.take_failure()
        if reason:
            hint = "keeping the deadline"
            self._log.emit("deadline.not_followed", "warning", reason=reason, hint=hint)
        elif reason is not None:
            self._log.emit("deadline.followed")


def _shown(epoch: float | None) -> str:
    return "never" if epoch is None else format_instant(epoch)
