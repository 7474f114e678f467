"""
Defects of the program that a request to an admin socket hits: the answer, and the line in the log.

Such a defect does not end the service, as the clients of the public port are not affected.
"""

import threading
import time
import traceback
from collections.abc import Callable
from http import HTTPStatus

from supervisor.admin.http import Request, Response

#: Seconds between two lines about the same defect: the status page asks every second or two.
_INTERVAL = 60.0


class Defects:
    """
    Logs each defect with its traceback, and repeats that once a minute at most.
    """

    def __init__(
        self, log: Callable[..., None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        #: By the type of the exception and where it was raised.
        self._logged_at: dict[tuple[object, ...], float] = {}

    def respond(self, error: Exception, request: Request) -> Response:
        """Log the defect, and return the answer; it has no text of the request in it."""
        self.report(error, f"{request.method} {request.path}")
        text = f"cannot answer: internal error ({type(error).__name__})"
        hint = "the supervisor's log has the traceback (admin.failed), and it keeps serving"
        return Response(HTTPStatus.INTERNAL_SERVER_ERROR, f"{text}; {hint}\n".encode())

    def report(self, error: BaseException, request: str | None = None) -> None:
        """Log the defect, unless it was logged within the last minute."""
        frames = traceback.extract_tb(error.__traceback__)
        last = frames[-1] if frames else None
        place = (
            type(error).__name__,
            last.filename if last else "",
            last.lineno or 0 if last else 0,
        )
        now = self._clock()
        with self._lock:
            if now < self._logged_at.get(place, -_INTERVAL) + _INTERVAL:
                return
            self._logged_at[place] = now
        self._log(
            "admin.failed",
            "error",
            request=request,
            reason=f"{type(error).__name__}: {error}",
            traceback="".join(traceback.format_exception(error)),
        )
