"""
The failures of a mix and their causes: a killed replica, or a fault of the balancer.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.support.mix.replica_pool import Kill
from tests.support.mix.request import Outcome

#: Seconds before a kill in which its client may see the end: the clocks are read by different
#: processes.
_SLACK = 0.02
#: Seconds after a standstill in which the clients still catch up.
_SETTLING = 0.3


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    The failures of one balancer.

    `in_flight` are requests that a killed replica was executing, `unread` POSTs that nginx had
    sent to a replica which was killed before it read them, `faults` the rest.  `stood_still` were
    sent on a kept connection after a standstill of the clients' process, in which the server may
    have closed the connection.
    """

    outcomes: Sequence[Outcome]
    in_flight: Sequence[Outcome]
    unread: Sequence[Outcome]
    faults: Sequence[Outcome]
    stood_still: Sequence[Outcome]
    routes: Mapping[int, str]

    def __str__(self) -> str:
        kinds = Counter(each.kind for each in self.outcomes)
        lost = Counter(each.kind for each in (*self.in_flight, *self.unread))
        lines = [
            f"{len(self.outcomes)} requests ({', '.join(f'{n} {k}' for k, n in kinds.items())})",
            f"{len(self.faults)} failed",
            f"{len(self.stood_still)} after a standstill of the clients",
            (
                f"{len(self.in_flight)} executing and {len(self.unread)} unread on a killed replica"
                f" ({', '.join(f'{n} {k}' for k, n in lost.items())})"
            ),
        ]
        groups = Counter(
            f"{each.kind}, {'fresh' if each.is_fresh else 'reused'} connection,"
            f" {each.phase}, status {each.status}: {each.error[:60]}"
            for each in self.faults
        )
        return "; ".join(lines) + "".join(f"\n  {n} x {what}" for what, n in groups.most_common())

    @property
    def details(self) -> str:
        """
        Each fault with its replica and upstreams, for diagnosis.
        """
        return "\n".join(
            f"{each.at:.3f}-{each.ended:.3f} {each.number} {each.kind} reused={each.reused}"
            f" {each.phase} {each.status} {each.replica} {each.error}"
            f" upstream {self.routes.get(each.number, 'none logged')}"
            for each in self.faults
        )


def judged(
    outcomes: Sequence[Outcome], kills: Iterable[Kill], routes: Mapping[int, str]
) -> Verdict:
    """
    Classify the failures; `routes` has the upstreams of each request by its number.
    """
    kills = list(kills)
    standstills = [each for each in outcomes if not each.number]
    outcomes = [each for each in outcomes if each.number]
    in_flight, unread, faults, stood_still = [], [], [], []
    for each in outcomes:
        if not each.error:
            continue
        route = routes.get(each.number, "")
        if any(_had_begun(each, kill) for kill in kills):
            in_flight.append(each)
        elif any(_was_sent(each, kill, route) for kill in kills):
            unread.append(each)
        elif any(_followed(each, standstill) for standstill in standstills):
            stood_still.append(each)
        else:
            faults.append(each)
    return Verdict(outcomes, in_flight, unread, faults, stood_still, routes)


def _had_begun(outcome: Outcome, kill: Kill) -> bool:
    """
    Return whether the replica was executing the request, and it could not be retried.
    """
    return (
        outcome.number in kill.in_flight
        and outcome.ended >= kill.at - _SLACK
        and (outcome.kind.endswith("POST") or outcome.phase == "body")
    )


def _followed(outcome: Outcome, standstill: Outcome) -> bool:
    """
    Return whether a client found a kept connection closed after a standstill of its process.
    """
    closed = not outcome.is_fresh and outcome.phase in {"send", "head"} and not outcome.status
    return closed and standstill.at <= outcome.at <= standstill.ended + _SETTLING


def _was_sent(outcome: Outcome, kill: Kill, route: str) -> bool:
    """
    Return whether a POST was sent to the replica when it was killed; it must not be retried.
    """
    address, port = kill.endpoint
    return (
        outcome.kind.endswith("POST")
        and route.rsplit(", ", 1)[-1] == f"{address}:{port}"
        and outcome.at <= kill.gone
        and outcome.ended >= kill.at - _SLACK
    )
