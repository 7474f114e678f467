"""
The request that stops the supervisor's own job.

Each request has a thread of its own, because the loop must not block; the client bounds its
duration.  Every outcome is posted as an event: an internal error must not disturb the shutdown.
"""

import threading
from collections.abc import Callable

from supervisor.core.config.settings import Settings
from supervisor.core.events import Event, JobStopAnswered
from supervisor.nomad.api import JobStopRequest
from supervisor.nomad.errors import NomadError, no_thread_error


class JobStopper:
    """
    Sends a job stop on request and posts the outcome; it uses no resources before.
    """

    def __init__(
        self,
        settings: Settings,
        post: Callable[[Event], None],
        redact: Callable[[list[str]], None],
    ) -> None:
        self._settings = settings
        self._post = post
        self._redact = redact

    def request(self) -> None:
        """Request the stop now.  Answered by JobStopAnswered."""
        try:
            threading.Thread(target=self._request, name="job-stop", daemon=True).start()
        except RuntimeError:
            self._post(JobStopAnswered(no_thread_error().reason))

    def _request(self) -> None:
        try:
            client = JobStopRequest(self._settings, self._redact)
            try:
                client.stop(self._settings.nomad_job_id)
            finally:
                client.close()
            outcome = JobStopAnswered()
        except NomadError as error:
            outcome = JobStopAnswered(error.reason, error.status, error.retry_after)
        except Exception as error:  # noqa: BLE001 - the shutdown continues after any error
            outcome = JobStopAnswered(f"internal error: {type(error).__name__}")
        self._post(outcome)
