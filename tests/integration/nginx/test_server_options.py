"""
Backups and drains with every balancing method: nginx accepts all of them.
"""

from collections.abc import Callable

import pytest

from tests.support.fake_nomad import FakeNomad
from tests.support.nginxes import BOTH, CURRENT
from tests.support.nomad_registry import row
from tests.support.reloading import FAST_RELOADS
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

METHODS: dict[str, dict[str, str]] = {
    **{name: {"LB_METHOD": name} for name in ("round_robin", "least_conn", "random", "ip_hash")},
    "hash": {"LB_METHOD": "hash", "LB_HASH_KEY": "header:X-User"},
    "cookie": {"STICKY": "cookie"},
}
SUPPORT_BACKUPS = {"round_robin", "least_conn", "cookie"}
CASES = [(method, nginx) for method in METHODS for nginx in BOTH if method != "cookie"]
CASES.append(("cookie", CURRENT))  # since nginx 1.29.6
IGNORED = "all endpoints have the tag lb.{}; ignoring it"


@pytest.mark.parametrize(
    "method, nginx",
    [
        pytest.param(method, *nginx.values, id=f"{method}-{nginx.id}", marks=nginx.marks)
        for method, nginx in CASES
    ],
)
def test_E13_tags_never_break_the_balancer(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, method: str, nginx: str
) -> None:
    """
    A backup serves only when no other endpoint does.  If all endpoints are backups, or all drain,
    the tags are ignored with a warning.  nginx accepts this with every method.
    """
    one, two = replicas("one", "two")

    def tagged(first: tuple[str, ...], second: tuple[str, ...]) -> None:
        nomad.rows(
            "web", [row("web", *one.endpoint, tags=first), row("web", *two.endpoint, tags=second)]
        )

    def answering() -> set[str]:
        headers = [{"X-User": f"u{n}"} for n in range(12)]
        return {subject.get(headers=each).text for each in headers}

    #: With ip_hash all requests here are one client, with one endpoint.
    def served_by_all() -> bool:
        found = answering()
        return found <= {"one", "two"} and len(found) == (1 if method == "ip_hash" else 2)

    tagged((), ("lb.backup",))
    subject = supervise(
        pid1=False, NGINX_BINARY=nginx, HEALTH_INTERVAL="200ms", **FAST_RELOADS, **METHODS[method]
    )
    subject.wait_for_log("reload.applied", mode="serve")
    eventually(lambda: {"one"} == answering())
    warning = (
        f"LB_METHOD={method} does not support backups; "
        "they serve only while no other endpoint is ready"
    )
    assert (method not in SUPPORT_BACKUPS) == bool(
        subject.log_lines("endpoints.warning", reason=warning)
    )

    one.stop()
    eventually(lambda: {"two"} == answering(), 10)
    one.start()
    eventually(lambda: {"one"} == answering(), 15)

    tagged(("lb.backup",), ("lb.backup", "lb.weight=3"))
    subject.wait_for_log("endpoints.warning", level="warning", reason=IGNORED.format("backup"))
    eventually(served_by_all)
    tagged(("lb.drain", "lb.backup"), ("lb.drain",))
    subject.wait_for_log("endpoints.warning", level="warning", reason=IGNORED.format("drain"))
    eventually(lambda: {"two"} == answering())  # the other one is still a backup
    assert [] == subject.log_lines("reload.failed")
    assert not [line for line in subject.log_lines("nginx.output") if "emerg" in str(line)]


def test_a_new_instance_at_the_address_of_a_draining_one_serves(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    With static ports the registry lists an address twice for a moment: the instance that drains,
    and its successor without the tag.
    """
    one, two = replicas("one", "two")
    nomad.rows(
        "web",
        [
            row("web", *one.endpoint, tags=("lb.drain",)),
            row("web", *one.endpoint, alloc="new"),
            row("web", *two.endpoint),
        ],
    )
    subject = supervise(pid1=False, LB_METHOD="round_robin", **FAST_RELOADS)
    subject.wait_for_log("reload.applied", mode="serve")
    eventually(lambda: {"one", "two"} == {subject.get().text for _ in range(8)})
