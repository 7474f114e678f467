"""
`GET /v1/service/:name`: the instances of one service, and how far the answer can be believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from supervisor.client.question import Question
from supervisor.client.trouble import Unanswered

#: Nomad adds up to a sixteenth to the wait.
_JITTER = 17 / 16

_LEAST_CAP = 8 * 1024 * 1024
_CAP_PER_ENDPOINT = 2048

#: How long a server may have been without word from its leader, in milliseconds.
_LONGEST_SILENCE = 5000


@dataclass(frozen=True, slots=True)
class Answer:
    """
    The rows that Nomad listed, unvetted, and the index it gave, if it is one.

    `stale` says why a server that has lost its leader does not know better, else it is empty.
    """

    rows: list[object]
    index: int | None
    stale: str = ""


class Service(Question):
    """
    The question for the instances of a service, used by one thread; `cut` may be called by any.
    """

    ENDPOINT = "service"

    def ask(self, name: str, index: int, wait: float) -> Answer:
        """
        Ask for the instances of a service; with an index, wait up to `wait` s for a change.

        Raises Unanswered.
        """
        params = {"index": str(index), "wait": f"{wait:.0f}s"} if index else {}
        blocks = wait * _JITTER if index else 0.0
        cap = max(_LEAST_CAP, _CAP_PER_ENDPOINT * self._settings.max_endpoints)
        heard = self.pose(quote(name, safe=""), params=params, blocks=blocks, cap=cap)
        if not isinstance(heard.value, list):
            raise Unanswered("the answer is not a list")
        return Answer(heard.value, _whole(heard.headers, "X-Nomad-Index"), _stale(heard.headers))


def _stale(headers: Mapping[str, str]) -> str:
    if headers.get("X-Nomad-KnownLeader", "true").lower() == "false":
        return "the answer is of a Nomad server without a leader"
    silence = _whole(headers, "X-Nomad-LastContact")
    if silence is not None and silence > _LONGEST_SILENCE:
        return f"the answer is of a Nomad server that has not heard its leader for {silence} ms"
    return ""


def _whole(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
