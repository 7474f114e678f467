"""
Backups and drains, asked for by anybody and with every method: nginx never refuses.
"""

from collections.abc import Callable

import pytest

from tests.support.fake_nomad import FakeNomad
from tests.support.nginxes import BOTH, current
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
KNOW_BACKUPS = {"round_robin", "least_conn", "cookie"}
IGNORED = "every endpoint has the tag lb.{}: it is ignored"


@pytest.mark.parametrize("nginx", BOTH)
@pytest.mark.parametrize("method", METHODS)
def test_E13_tags_never_break_the_balancer(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, method: str, nginx: str
) -> None:
    """
    One backup serves only when nobody else does; if all are backups, or all drain, all serve as if
    none were, and that is said.  nginx refuses none of it, whatever the method.
    """
    if method == "cookie" and nginx != current():
        pytest.skip("sticky came with 1.29.6")
    one, two = replicas("one", "two")

    def tagged(first: tuple[str, ...], second: tuple[str, ...]) -> None:
        nomad.rows(
            "web", [row("web", *one.endpoint, tags=first), row("web", *two.endpoint, tags=second)]
        )

    def answering() -> set[str]:
        headers = [{"X-User": f"u{n}"} for n in range(12)]
        return {subject.get(headers=each).text for each in headers}

    #: ip_hash sees one client only: it may have one home, and no more can be said.
    def served_by_all() -> bool:
        found = answering()
        return found <= {"one", "two"} and len(found) == (1 if method == "ip_hash" else 2)

    tagged((), ("lb.backup",))
    subject = supervise(
        pid1=False, NGINX_BINARY=nginx, HEALTH_INTERVAL="200ms", **FAST_RELOADS, **METHODS[method]
    )
    subject.wait_for_log("reload.applied", mode="serve")
    eventually(lambda: {"one"} == answering())
    remark = f"LB_METHOD={method} knows no backups: they serve while nobody else is ready"
    assert (method not in KNOW_BACKUPS) == bool(
        subject.log_lines("endpoints.warning", reason=remark)
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
    eventually(served_by_all)
    assert [] == subject.log_lines("reload.failed")
    assert not [line for line in subject.log_lines("nginx.output") if "emerg" in str(line)]
