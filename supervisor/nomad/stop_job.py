"""
The request that stops the supervisor's own job.

Every outcome is posted as an event: an internal error must not disturb the shutdown.
"""

from collections.abc import Callable
from contextlib import closing

from supervisor.core.config.settings import Settings
from supervisor.core.events import Event, JobStopAnswered
from supervisor.nomad.api import JobStopRequest
from supervisor.nomad.errors import NomadError
from supervisor.nomad.in_thread import post_outcome


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
        post_outcome("job-stop", self._stop, _failed, self._post)

    def _stop(self) -> JobStopAnswered:
        with closing(JobStopRequest(self._settings, self._redact)) as client:
            client.stop(self._settings.nomad_job_id)
        return JobStopAnswered()


def _failed(error: NomadError) -> JobStopAnswered:
    return JobStopAnswered(error.reason, error.status, error.retry_after)
