"""
`GET /v1/client/allocation/:id/checks`: what Nomad's own checks say of one allocation.
"""

from urllib.parse import quote

from supervisor.client.question import Question
from supervisor.client.trouble import Unanswered

_CAP = 1024 * 1024


class Checks(Question):
    """
    The question for the checks of an allocation, used by one thread; `cut` may be called by any.
    """

    ENDPOINT = "client"

    def ask(self, allocation: str) -> list[tuple[str, str]]:
        """
        Return the service and the status of every check, none before the first one ran.

        The status is `success`, `failure` or `pending`, or whatever Nomad may say one day.
        Raises Unanswered: with status 403 the token lacks `read-job`, with 404 the allocation is
        unknown, or its node is away.
        """
        heard = self.pose("allocation", quote(allocation, safe=""), "checks", params={}, cap=_CAP)
        if heard.value is None:
            return []
        if not isinstance(heard.value, dict):
            raise Unanswered("the answer is not a map of checks")
        return sorted(_row(check) for check in heard.value.values())


def _row(check: object) -> tuple[str, str]:
    if isinstance(check, dict):
        service, status = check.get("Service"), check.get("Status")
        if isinstance(service, str) and isinstance(status, str):
            return service, status
    raise Unanswered("the answer holds a check without a service and a status")
