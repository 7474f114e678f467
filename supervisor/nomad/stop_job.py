"""
The hand that asks Nomad to stop the job around us.

Each question has a thread of its own, because the loop waits for nobody; the client bounds how long
it takes.  Whatever happens to it is an answer: at the deadline a defect must not change the end.
"""

import threading
from collections.abc import Callable

from supervisor.core.config.settings import Settings
from supervisor.core.events import Event, JobStopAnswered
from supervisor.nomad.api import JobStopRequest
from supervisor.nomad.errors import NomadError


class JobStopper:
    """
    Asks when it is told to, and posts what became of it; it costs nothing before.
    """

    def __init__(
        self,
        settings: Settings,
        post: Callable[[Event], None],
        redact: Callable[[list[str]], None],
    ) -> None:
        self._settings = settings
        self._post = post
        self._hide = redact

    def request(self) -> None:
        """Request the stop now.  Answered by JobStopAnswered."""
        threading.Thread(target=self._request, name="job-stop", daemon=True).start()

    def _request(self) -> None:
        try:
            jobs = JobStopRequest(self._settings, self._hide)
            try:
                jobs.stop(self._settings.nomad_job_id)
            finally:
                jobs.close()
            answer = JobStopAnswered()
        except NomadError as trouble:
            answer = JobStopAnswered(trouble.reason, trouble.status, trouble.retry_after)
        except Exception as error:  # noqa: BLE001 - the end goes on, whatever nobody foresaw
            answer = JobStopAnswered(f"internal error: {type(error).__name__}")
        self._post(answer)
