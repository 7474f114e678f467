"""
What the sources said, and the plan that follows.
"""

from supervisor import targets
from supervisor.events import DiscoveryFailed, SnapshotArrived
from supervisor.model import Mode
from supervisor.targets import Targets
from tests.support.play import endpoints


def told(known: Targets, source: str, *ports: int, certain: bool = True) -> Targets:
    """Let a source answer."""
    return targets.arrived(known, SnapshotArrived(source, endpoints(*ports), certain), 1.0)


def test_several_services_form_one_upstream() -> None:
    """
    Their endpoints are merged, sorted and unique.
    """
    known = told(told(Targets.expecting(["a", "b"]), "a", 3, 1), "b", 2, 1)

    assert (endpoints(1, 2, 3), Mode.SERVE) == (
        targets.choose(known, 10).endpoints,
        targets.choose(known, 10).mode,
    )


def test_a_failing_service_keeps_its_last_answer() -> None:
    """
    The others may change meanwhile.
    """
    known = told(told(Targets.expecting(["a", "b"]), "a", 1), "b", 2)
    known = targets.failed(known, DiscoveryFailed("a", "away", 1.0), 2.0)
    known = targets.failed(known, DiscoveryFailed("a", "away", 1.0), 3.0)
    known = told(known, "b", 3)

    assert endpoints(1, 3) == targets.choose(known, 10).endpoints
    assert 2.0 == known.sources["a"].failing_since


def test_one_service_without_an_answer_keeps_it_starting() -> None:
    """
    Only when all have answered empty is it known that there are no endpoints.
    """
    known = told(Targets.expecting(["a", "b"]), "a")
    assert Mode.STARTING is targets.choose(known, 10).mode

    assert Mode.NO_ENDPOINTS is targets.choose(told(known, "b"), 10).mode


def test_a_doubtful_empty_answer_changes_nothing() -> None:
    """
    It proves that the source is there, and no more.
    """
    known = told(told(Targets.expecting(["a"]), "a", 1), "a", certain=False)

    assert endpoints(1) == targets.choose(known, 10).endpoints
    assert known.tried_all


def test_the_limit_counts_for_all_together() -> None:
    """
    MAX_ENDPOINTS bounds what nginx is given.
    """
    known = told(told(Targets.expecting(["a", "b"]), "a", 1, 2), "b", 3, 4)

    assert endpoints(1, 2, 3) == targets.choose(known, 3).endpoints
