"""
`DELETE /v1/job/:id`: stop a job, all of its groups.  Its definition stays, it is never purged.
"""

from urllib.parse import quote

import requests

from supervisor.client.question import Question
from supervisor.client.trouble import Unanswered

_CAP = 65536


class Jobs(Question):
    """
    The question to stop a job, used by one thread; `cut` may be called by any.
    """

    ENDPOINT = "job"
    METHOD = "delete"

    def stop(self, job: str) -> None:
        """
        Return once Nomad has agreed to stop a job; its tasks are told 40 ms later, or more.

        Raises Unanswered: with status 403 the token has no right to it.  A job that Nomad does not
        know is answered like any other, but for the ID of the evaluation that never will be.
        """
        heard = self.pose(quote(job, safe=""), params={}, cap=_CAP)
        if not isinstance(heard.value, dict) or not isinstance(heard.value.get("EvalID"), str):
            raise Unanswered("the answer does not say that the job is stopped")
        if not heard.value["EvalID"]:
            told = f"Nomad knows no job {job!r} in namespace {self._settings.nomad_namespace!r}"
            raise Unanswered(told, status=requests.codes.ok)
