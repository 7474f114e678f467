"""
Why a source lists no endpoints, and the next step.
"""

import pytest

from supervisor.core import missing_service
from supervisor.core.config import load
from supervisor.core.config.settings import Settings
from supervisor.core.events import ServicesListed
from supervisor.core.missing_service import Cause, near, of_nothing, of_unselected
from supervisor.core.model import Unselected

SOURCE = "nomad:web"


def settings_for(**environ: str) -> Settings:
    """Return the settings of a balancer for the service `web` in the namespace `prod`."""
    return load.read({"SERVICE_NAME": "web", "NOMAD_NAMESPACE": "prod", **environ}, lambda _: False)


def nothing(**fields: tuple[str, ...] | str) -> Cause:
    """Return the cause for a service that is not registered."""
    return of_nothing(SOURCE, ServicesListed("web", **fields), settings_for())  # type: ignore[arg-type]


def test_a_missing_service_is_named_with_its_namespace_and_the_provider() -> None:
    """
    What else is registered tells a misspelt name from a service in Consul.
    """
    plain = nothing()

    assert "no instance of service 'web' is registered in namespace 'prod'" == plain.reason
    assert 'provider = "nomad"' in plain.hint
    assert "SERVICE_NAME" in plain.hint
    assert str(plain) == f"{plain.reason}; {plain.hint}"
    assert "registered there: web-api, webb; else" in nothing(near=("web-api", "webb")).hint
    assert 'provider = "nomad"' in nothing(near=("web-api",)).hint
    assert "cannot be listed: token refused" in nothing(error="token refused").hint


def test_a_service_in_another_namespace_is_named() -> None:
    """
    That is more likely than a similar name.
    """
    found = nothing(near=("webb",), namespaces=("dev", "test"))

    assert "but in dev, test" in found.reason
    assert "NOMAD_NAMESPACE" in found.hint


def test_other_tags_are_named() -> None:
    """
    How many instances are listed, what is required, and what they carry instead.
    """
    settings = settings_for(SERVICE_TAGS="a,b")
    found = of_unselected(SOURCE, Unselected(3, tags=("c", "d")), settings)
    bare = of_unselected(SOURCE, Unselected(1), settings)

    assert (
        "3 instances of service 'web' listed in namespace 'prod',"
        " none with all of SERVICE_TAGS=a,b; their tags: c, d"
    ) == found.reason
    assert "SERVICE_TAGS" in found.hint
    assert bare.reason.startswith("1 instance of")
    assert bare.reason.endswith("their tags: none")


def test_other_jobs_are_named() -> None:
    """
    Also if the tags are wrong too: the job is compared first.
    """
    settings = settings_for(SERVICE_JOB="mine", SERVICE_TAGS="a")
    found = of_unselected(SOURCE, Unselected(2, ("theirs", "x"), ("b",)), settings)

    assert "none of job 'mine' (SERVICE_JOB); their jobs: theirs, x" in found.reason
    assert "SERVICE_JOB" in found.hint


def test_the_own_address_is_named() -> None:
    """
    The balancer and the replicas registered one service.
    """
    found = of_unselected(SOURCE, Unselected(1, own=1), settings_for())

    assert "the balancer's own address" in found.reason
    assert "another service" in found.hint


@pytest.mark.parametrize(
    "given, unselected, part",
    [
        ({"ENDPOINTS_FILE": "/x"}, Unselected(), "ENDPOINTS_FILE='/x' lists no endpoints"),
        ({"ENDPOINTS_FILE": "/x"}, Unselected(1, own=1), "only the balancer's own address"),
        ({"ENDPOINTS": "a:1"}, Unselected(1, own=1), "ENDPOINTS lists only"),
    ],
)
def test_a_list_is_named(given: dict[str, str], unselected: Unselected, part: str) -> None:
    """
    By its setting.
    """
    assert part in of_unselected("file", unselected, settings_for(SERVICE_NAME="", **given)).reason


@pytest.mark.parametrize(
    "registered, expected",
    [
        (["wbe", "zzzzzzzz", *"abcdef"], ("wbe",)),
        (["WEB", "api", *"abcdef"], ("WEB",)),
        (["my-web-server", "zzz", *"abcdef"], ("my-web-server",)),
        (["api", "db"], ("api", "db")),
        (["web"], ()),
        ([], ()),
        (["web\x1b[2J", "we\u202eb"], ()),
        ([f"x{n}yz" for n in range(6)], ()),
    ],
)
def test_near_names(registered: list[str], expected: tuple[str, ...]) -> None:
    """
    Similar ones and those that contain it, in any case; all, if there are only a few.
    """
    assert expected == near("web", registered)


def test_five_near_names_are_enough() -> None:
    """
    The log line is bounded; those that a longer name contains count too.
    """
    assert 5 == len(near("web", [f"web-{n}" for n in range(9)]))
    assert ("models",) == near("models-of-the-department", ["models", *"abcdef"])


def test_the_service_of_a_source() -> None:
    """
    A list and a file have none.
    """
    assert ["web", ""] == [missing_service.service_of(name) for name in (SOURCE, "file")]
