"""
One Nomad service, followed by blocking queries, for ever.

The rules of where and when to ask are in `cursor`; this is the thread that follows them.
"""

import random
import threading
import time
from collections.abc import Callable

from supervisor import cursor
from supervisor.admission import admit_rows, cap
from supervisor.cursor import Cursor
from supervisor.discovery.client import Answer, Service, Unanswered
from supervisor.events import DiscoveryFailed, Event, SnapshotArrived
from supervisor.model import Endpoint
from supervisor.settings import Settings

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
        hide: Callable[[list[str]], None],
    ) -> None:
        self.name = f"nomad:{service}"
        self._service = service
        self._settings = settings
        self._post = post
        self._again = threading.Event()
        self._client = Service(settings, hide, self._again.is_set)
        self._known: tuple[Endpoint, ...] | None = None

    def start(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._follow, name=self.name, daemon=True).start()

    def requery(self) -> None:
        """Ask again now, without an index."""
        self._again.set()
        self._client.cut()

    def _follow(self) -> None:
        place, pause = Cursor(), 0.0
        while True:
            if self._again.wait(pause):
                self._again.clear()
                place, pause = cursor.anew(place, time.monotonic())
                continue
            place = cursor.asking(place, time.monotonic())
            try:
                answer = self._client.ask(self._service, place.index, _WAIT)
                place, pause = self._learn(answer, place)
            except Unanswered as trouble:
                if self._again.is_set():
                    continue  # cut on purpose
                place, pause = cursor.failed(
                    place,
                    refused=trouble.refused,
                    retry_after=trouble.retry_after,
                    chance=random.random(),
                )
                self._post(DiscoveryFailed(self.name, trouble.reason, pause))
            except Exception as error:  # noqa: BLE001 - a source must outlive what nobody foresaw
                place, pause = cursor.failed(
                    place, refused=False, retry_after=None, chance=random.random()
                )
                self._post(
                    DiscoveryFailed(self.name, f"internal error: {type(error).__name__}", pause)
                )

    def _learn(self, answer: Answer, place: Cursor) -> tuple[Cursor, float]:
        admitted, refused = admit_rows(answer.rows, self._settings.rules)
        if answer.rows and not admitted:
            raise Unanswered(f"none of the {refused} listed instances may be served")
        endpoints, beyond = cap(admitted, self._settings.max_endpoints)
        following, pause, certain = cursor.answered(
            place,
            answer.index,
            is_news=endpoints != self._known,
            is_empty=not endpoints,
            now=time.monotonic(),
        )
        if certain:
            self._known = endpoints
        self._post(SnapshotArrived(self.name, endpoints, certain, refused, beyond))
        return following, pause
