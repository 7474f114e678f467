"""
One Nomad service, followed by blocking queries, for ever.

The rules of where and when to ask are in `schedule`; this is the thread that follows them.
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

#: How long a query may wait for a change.  Short, because a registry that was restored keeps a
#: query from before on the old index until its wait is over.
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
        self._again = threading.Event()
        self._client = ServiceQuery(settings, redact, self._again.is_set)
        self._known: Selection | None = None

    def start(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._follow, name=self.name, daemon=True).start()

    def requery(self) -> None:
        """Ask again now, without an index."""
        self._again.set()
        self._client.cancel()

    def _follow(self) -> None:
        place, pause = QuerySchedule(), 0.0
        while True:
            if self._again.wait(pause):
                self._again.clear()
                place, pause = query_schedule.anew(place, time.monotonic())
                continue
            place = query_schedule.asking(place, time.monotonic())
            try:
                answer = self._believed(
                    self._client.list_instances(self._service, place.index, _WAIT)
                )
                place, pause = self._learn(answer, place)
            except NomadError as trouble:
                if self._again.is_set():
                    continue  # cut on purpose
                place, pause = query_schedule.failed(
                    place,
                    refused=trouble.refused,
                    retry_after=trouble.retry_after,
                    chance=chance(),
                    now=time.monotonic(),
                )
                self._post(DiscoveryFailed(self.name, trouble.reason, pause))
            except Exception as error:  # noqa: BLE001 - a source must outlive what nobody foresaw
                place, pause = query_schedule.failed(
                    place,
                    refused=False,
                    retry_after=None,
                    chance=chance(),
                    now=time.monotonic(),
                )
                self._post(
                    DiscoveryFailed(self.name, f"internal error: {type(error).__name__}", pause)
                )

    def _believed(self, answer: ServiceList) -> ServiceList:
        """
        Return the answer if it may be learned from.  Raises Unanswered.

        A server that lost its leader is better than nothing, and than nothing only.
        """
        if not answer.stale:
            return answer
        if self._known is not None or not answer.rows:
            raise NomadError(answer.stale)
        return replace(answer, index=None)  # ask again soon, for everything

    def _learn(self, answer: ServiceList, place: QuerySchedule) -> tuple[QuerySchedule, float]:
        found = select(answer.rows, self._settings)
        if found.all_rejected:
            raise NomadError(f"none of the {found.refused} listed instances may be served")
        following, pause, confirmed = query_schedule.answered(
            place,
            answer.index,
            is_news=found != self._known,
            is_empty=not found.endpoints,
            now=time.monotonic(),
        )
        if confirmed:
            self._known = found
        self._post(
            SnapshotArrived(
                self.name,
                found.endpoints,
                confirmed,
                found.refused,
                found.over_limit,
                server_options=found.server_options,
                allocations=found.allocations,
                skipped=found.skipped,
                invalid_tags=found.invalid_tags,
                jobs=found.jobs,
            )
        )
        return following, pause
