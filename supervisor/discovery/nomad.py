"""
One Nomad service, followed by blocking queries for the lifetime of the process.

`query_schedule` decides the index and the time of each query; this module runs them in a thread.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from supervisor.core.config.settings import Settings
from supervisor.core.events import DiscoveryFailed, Event, SnapshotArrived
from supervisor.discovery import query_schedule
from supervisor.discovery.query_schedule import QuerySchedule
from supervisor.discovery.selection import Selection, select
from supervisor.nomad.api import ServiceList, ServiceQuery
from supervisor.nomad.errors import NomadError
from supervisor.system.jitter import chance

#: How long a query may wait for a change, in seconds.  Short, because after a restore of the
#: registry an open query stays on the old index until its wait is over.
_WAIT = 30.0


class NomadSource:
    """
    The thread that follows one service.
    """

    def __init__(
        self,
        service: str,
        settings: Settings,
        post: Callable[[Event], None],
        redact: Callable[[list[str]], None],
    ) -> None:
        self.name = f"nomad:{service}"
        self._service = service
        self._settings = settings
        self._post = post
        self._requery_event = threading.Event()
        self._client = ServiceQuery(settings, redact, self._requery_event.is_set)
        self._selection: Selection | None = None

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    def requery(self) -> None:
        """Query again now, without an index."""
        self._requery_event.set()
        self._client.cancel()

    def _run(self) -> None:
        schedule, pause = QuerySchedule(), 0.0
        while True:
            if self._requery_event.wait(pause):
                self._requery_event.clear()
                schedule, pause = query_schedule.on_requery(schedule, time.monotonic())
                continue
            schedule = query_schedule.on_start(schedule, time.monotonic())
            try:
                response = self._check_stale(
                    self._client.list_instances(self._service, schedule.index, _WAIT)
                )
                schedule, pause = self._apply(response, schedule)
            except NomadError as error:
                if self._requery_event.is_set():
                    continue  # cancelled by requery()
                schedule, pause = query_schedule.on_failure(
                    schedule,
                    refused=error.refused,
                    retry_after=error.retry_after,
                    chance=chance(),
                    now=time.monotonic(),
                )
                reason = "; ".join(filter(None, (error.reason, error.step)))
                self._post(DiscoveryFailed(self.name, reason, pause))
            except Exception as error:  # noqa: BLE001 - a source must continue after any error
                schedule, pause = query_schedule.on_failure(
                    schedule,
                    refused=False,
                    retry_after=None,
                    chance=chance(),
                    now=time.monotonic(),
                )
                self._post(
                    DiscoveryFailed(self.name, f"internal error: {type(error).__name__}", pause)
                )

    def _check_stale(self, response: ServiceList) -> ServiceList:
        """
        Return the response if it may be used.  Raises NomadError.

        A stale response is used only while no endpoints are known, and only if it has rows.
        """
        if not response.stale:
            return response
        if self._selection is not None or not response.rows:
            raise NomadError(response.stale)
        return replace(response, index=None)  # soon query again, for all rows

    def _apply(self, response: ServiceList, schedule: QuerySchedule) -> tuple[QuerySchedule, float]:
        found = select(response.rows, self._settings)
        if found.all_rejected:
            reason = f"none of the {found.refused} listed instances may be served"
            raise NomadError(": ".join(filter(None, (reason, "; ".join(found.reasons)))))
        next_schedule, pause, confirmed = query_schedule.on_response(
            schedule,
            response.index,
            is_changed=found != self._selection,
            is_empty=not found.endpoints,
            now=time.monotonic(),
        )
        if confirmed:
            self._selection = found
        self._post(
            SnapshotArrived(
                self.name,
                found.endpoints,
                confirmed,
                found.refused,
                found.over_limit,
                server_options=found.server_options,
                allocations=found.allocations,
                origins=found.origins,
                skipped=found.skipped,
                invalid_tags=found.invalid_tags,
                reasons=found.reasons,
                jobs=found.jobs,
                unselected=found.unselected,
            )
        )
        return next_schedule, pause
