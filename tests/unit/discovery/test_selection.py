import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from supervisor.core.config import load
from supervisor.core.config.settings import Settings
from supervisor.core.model import Endpoint, ServerOptions
from supervisor.discovery.selection import Selection, select
from tests.support.nomad_registry import row
from tests.support.policy_simulation import endpoints


def chosen(**environ: str) -> Settings:
    """
    Return the settings of a balancer that follows `web`.
    """
    return load.read({"SERVICE_NAME": "web", **environ}, lambda _: False)


def rows(*numbers: int, **fields: Any) -> list[dict[str, object]]:
    """
    Return a row for each number, as `endpoints` numbers them, with these fields of Nomad's.
    """
    listed = zip(numbers, endpoints(*numbers), strict=True)
    return [row("web", e.host, e.port, index=number) | fields for number, e in listed]


def test_all_instances_are_ours_by_default() -> None:
    """
    Whatever job they are of and whatever tags they have.
    """
    found = select([*rows(2, JobID="b"), *rows(1, JobID="a", Tags=None)], chosen())

    assert endpoints(1, 2) == found.endpoints
    assert ({}, {}, ("a", "b")) == (found.server_options, found.allocations, found.jobs)
    assert (0, 0, 0, 0) == (found.refused, found.over_limit, found.skipped, found.invalid_tags)


def test_S03_only_our_own_job_is_served() -> None:
    """
    SERVICE_JOB=self is the job around us; instances that another job registered under the same
    name are passed over, whatever else stands in them.
    """
    ours = chosen(SERVICE_JOB="self", NOMAD_JOB_ID="größe/dispatch-1")
    others = ["größe", "größe/dispatch-12", "GRÖSSE/dispatch-1", " größe/dispatch-1", ""]
    foreign = [*(r for n, job in enumerate(others, 2) for r in rows(n, JobID=job)), {"JobID": "x"}]
    found = select([*rows(1, JobID="größe/dispatch-1"), *foreign], ours)

    assert endpoints(1) == found.endpoints
    assert (len(foreign), 0, ()) == (found.skipped, found.refused, found.jobs)


def test_S03_several_jobs_are_seen() -> None:
    """
    By default all are served, and the jobs told: those of what is served, five names at most, each
    128 characters at most.
    """
    names = ["e", "d", "c", "b", "a" * 300, "f"]
    listed = [each for n, name in enumerate(names, 1) for each in rows(n, JobID=name)]
    none = [*rows(7, JobID=""), *rows(8, JobID=None), *rows(9, JobID=["a"]), {"JobID": "refused"}]
    found = select([*listed, *listed, *none], chosen())

    assert 9 == len(found.endpoints)
    assert ("a" * 128, "b", "c", "d", "e") == found.jobs
    assert ("e",) == select(rows(1, 2, JobID="e"), chosen()).jobs


def test_another_job_may_be_named() -> None:
    """
    Its instances alone are ours; a row whose job cannot be read is refused, not passed over.
    """
    wanted = chosen(SERVICE_JOB="b")
    found = select([*rows(1, JobID="a"), *rows(2, JobID="b"), *rows(3, JobID=7)], wanted)

    assert (endpoints(2), 1, 1) == (found.endpoints, found.skipped, found.refused)


def test_all_the_tags_asked_for_are_needed() -> None:
    """
    SERVICE_TAGS are compared whole; null is no tags, and what is no list cannot be told.
    """
    listed = [
        *rows(1, Tags=["gpu", "v2", "x"]),
        *rows(2, Tags=["gpu"]),
        *rows(3, Tags=["gpu", "v22"]),
        *rows(4, Tags=None),
        *rows(5, Tags="gpu,v2"),
        *rows(6, Tags=[["gpu"], {}, None, "v2", "gpu"]),
    ]
    found = select(listed, chosen(SERVICE_TAGS="gpu, v2"))

    assert (endpoints(1, 6), 3, 1) == (found.endpoints, found.skipped, found.refused)


def test_E12_our_own_address_and_port_are_passed_over() -> None:
    """
    A balancer registered under the name that it follows never serves itself, wherever it is
    registered: locally, on loopback, mapped into IPv6, and where Nomad publishes it.  A neighbour
    on the same host is served.
    """
    published = {"NOMAD_IP_http": "192.0.2.1", "NOMAD_HOST_PORT_http": "21000"}
    around = load.read(
        {"SERVICE_NAME": "web", "LISTEN_PORT": "8080", "NOMAD_ALLOC_ID": "a", **published},
        lambda _: False,
        ["127.0.0.1", "::1", "172.26.0.2", "fd00::2"],
    )
    own = [
        *(("172.26.0.2", 8080), ("fd00:0::2", 8080), ("::1", 8080), ("127.0.0.1", 8080)),
        *(("127.3.2.1", 8080), ("::ffff:172.26.0.2", 8080), ("::ffff:127.0.0.9", 8080)),
        *(("192.0.2.1", 21000), ("172.26.0.2", 21000)),
    ]
    others = [("192.0.2.1", 8080), ("192.0.2.1", 21001), ("172.26.0.3", 8080), ("fd00::2", 81)]
    found = select([row("web", *place) for place in [*own, *others]], around)

    assert sorted(Endpoint(*place) for place in others) == list(found.endpoints)
    assert (len(own), 0) == (found.skipped, found.refused)


def test_ourselves_alone_is_knowledge() -> None:
    """
    Rows that are all refused teach nothing; one that is passed over does.
    """
    filtered = chosen(SERVICE_JOB="ours")

    assert select([{}], filtered).all_rejected
    assert select(["x", None, *rows(1, JobID=None)], filtered).all_rejected
    assert select([{}, *rows(1, JobID="theirs")], filtered).all_rejected
    assert not select(rows(1, JobID="theirs"), filtered).all_rejected
    assert not select([{}, *rows(1, JobID="ours")], filtered).all_rejected
    assert not select([], filtered).all_rejected
    assert not select([row("web", "127.0.0.8", 8080)], chosen()).all_rejected


def test_what_the_tags_ask_for_is_told() -> None:
    """
    Only endpoints that are to be treated otherwise than all others are named.
    """
    listed = [
        *rows(1, Tags=["lb.weight=5"]),
        *rows(2, Tags=["lb.weight=1", "x"]),
        *rows(3, Tags=["lb.backup", "lb.drian"]),
        *rows(4, Tags=["lb.weight=1", "lb.weight=2"]),
    ]
    found = select(listed, chosen())
    one, three = endpoints(1, 3)

    assert {one: ServerOptions(weight=5), three: ServerOptions(backup=True)} == found.server_options
    assert 3 == found.invalid_tags


@pytest.mark.parametrize("turned", [False, True])
def test_duplicates_are_one_endpoint(*, turned: bool) -> None:
    """
    The larger weight, a backup only if all rows say so, draining if any says so: in any order.
    """
    listed = [
        *rows(1, Tags=["lb.weight=5", "lb.backup"]),
        *rows(1, Tags=["lb.weight=7"]),
        *rows(2, Tags=["lb.backup"]),
        *rows(2, Tags=["lb.backup", "lb.drain"]),
        *rows(3, Tags=["lb.backup"]),
        *rows(3),
    ]
    found = select(listed[::-1] if turned else listed, chosen())
    one, two, three = endpoints(1, 2, 3)

    assert (one, two, three) == found.endpoints
    assert {
        one: ServerOptions(weight=7),
        two: ServerOptions(1, backup=True, drain=True),
    } == found.server_options


ALLOCATIONS = [f"{n}3b7a3d0-1d2e-4f0a-9b8c-0a1b2c3d4e5f" for n in "abc"]


def test_allocations_are_told_where_nomad_is_asked_for_checks() -> None:
    """
    Only then, and only what is a UUID: it becomes part of a path.
    """
    a = ALLOCATIONS[0]
    bad = [a + "\n", a[:-1], a + "0", "../" + a, "g" + a[1:], a.replace("-", ""), None, 5, ""]
    listed = [
        *rows(1, AllocID=a),
        *(r for n, text in enumerate(bad, 2) for r in rows(n, AllocID=text)),
    ]
    found = select(listed, chosen(HEALTH_CHECK="nomad"))

    assert dict(zip(endpoints(1), [a], strict=True)) == found.allocations
    assert 1 + len(bad) == len(found.endpoints)
    assert {} == select(listed, chosen()).allocations


@pytest.mark.parametrize("turned", [False, True])
def test_an_address_that_was_taken_over_is_the_newer_allocations(*, turned: bool) -> None:
    """
    A stale row and a reused port: the later registration counts, in any order of rows.
    """
    a, b, c = ALLOCATIONS
    listed = [
        *rows(1, AllocID=c, CreateIndex=8),
        *rows(1, AllocID=a, CreateIndex=9),
        *rows(1, AllocID=b, CreateIndex="10"),
    ]
    found = select(listed[::-1] if turned else listed, chosen(HEALTH_CHECK="nomad"))

    assert dict.fromkeys(endpoints(1), a) == found.allocations


def test_E14_the_limit_is_kept_and_what_is_beyond_is_counted() -> None:
    """
    Of 10,001 endpoints 10,000 are served, the same ones in whatever order they are listed, and
    nothing is told of the one that is not.
    """
    listed = [
        row("web", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 80, tags=["lb.weight=2"])
        for n in range(10_001)
    ]
    checked = chosen(HEALTH_CHECK="nomad")
    found, turned = select(listed, checked), select(listed[::-1], checked)

    assert (10_000, 1) == (len(found.endpoints), found.over_limit)
    assert found == turned
    assert set(found.endpoints) == found.server_options.keys() == found.allocations.keys()


def test_E05_a_wrong_row_loses_only_itself() -> None:
    """
    Each is refused by itself and counted; the valid ones are served.
    """
    wrong: list[object] = [
        *(None, "x", 5, [], {}, [{}], {"Port": 1}, {"Address": "10.0.0.1"}, True, 1.5),
        *(row("web", "10.0.0.9", port) for port in (0, -1, 65536, 2**70)),
        *(row("web", "10.0.0.9", 1) | {"Port": port} for port in ("80", 80.0, None, True, [80])),
        *(row("web", text, 80) for text in ("", "host", "10.0.0.9:80", "10.0.0.256", "0.0.0.0")),
        *(row("web", "x", 80) | {"Address": value} for value in (None, 5, ["10.0.0.9"], {})),
    ]
    found = select([*wrong, *rows(1), *wrong, *rows(2)], chosen())

    assert (endpoints(1, 2), 2 * len(wrong)) == (found.endpoints, found.refused)


def test_others_that_come_and_go_are_no_news() -> None:
    """
    Two answers are the same when they serve the same in the same way.
    """
    ours = chosen(SERVICE_JOB="a")

    assert select(rows(1, JobID="a"), ours) == select(
        [*rows(1, JobID="a"), *rows(2, JobID="b"), {}], ours
    )
    assert select(rows(1, JobID="a"), ours) != select(rows(1, JobID="a", Tags=["lb.drain"]), ours)


# ------------------------------------------------------------------------ whatever is registered

HOSTILE = [
    *(";", "{", "}", "$", "#", "\n", "\r", "\0", "%", "\\", '"', "'", "`", " ", "\t", "/", ":"),
    *("é", "\u0660", "\uff11", "\u2028", "\ud800", "\U0001f600", "server 10.0.0.1;", "${x}", "../"),
    *("lb.", "weight=", "lb.weight=9", "lb.backup", "10.0.0.1", "fe80::1", "%eth0", "0", "65535"),
]


def hostile(dice: random.Random) -> str:
    """
    Return a text such as nobody should register.
    """
    return "".join(dice.choices(HOSTILE, k=dice.randrange(5)))


def registered(dice: random.Random) -> object:
    """
    Return a row with hostile texts in every field, of which some still are a good place.
    """
    anything = [None, True, -1, 2**70, 80.5, [], {}, [[]]]
    address = f"10.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(1, 255)}"
    return {
        "Address": dice.choice([address, address, address + hostile(dice), hostile(dice), None]),
        "Port": dice.choice([dice.randrange(1, 65536), 8000, hostile(dice), *anything]),
        "Tags": dice.choice([None, hostile(dice), [hostile(dice), hostile(dice)], *anything]),
        "ServiceName": hostile(dice),
        "JobID": dice.choice([hostile(dice), *anything]),
        "AllocID": dice.choice([hostile(dice), ALLOCATIONS[0] + hostile(dice), *anything]),
        "ID": hostile(dice),
        "CreateIndex": dice.choice([3, hostile(dice), *anything]),
        hostile(dice): hostile(dice),
    }


def is_clean(found: Selection) -> bool:
    """
    Tell whether everything that came out is a number, an address, or a UUID.
    """
    return (
        all(set(e.host) <= set("0123456789abcdef.:") for e in found.endpoints)
        and all(type(e.port) is int and 0 < e.port < 65536 for e in found.endpoints)
        and all(
            type(s.weight) is int and 0 < s.weight <= 1000 for s in found.server_options.values()
        )
        and all({type(s.backup), type(s.drain)} == {bool} for s in found.server_options.values())
        and set(found.allocations.values()) <= {ALLOCATIONS[0]}
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_S01_no_text_of_the_registry_comes_out(seed: int) -> None:
    """
    Of 10,000 rows with hostile texts in every field, endpoints are addresses and ports that were
    registered as such, what they ask for is numbers and booleans, and each row is accounted for.
    """
    dice = random.Random(seed)
    listed: list[Any] = [registered(dice) for _ in range(10_000)]
    found = select(listed, chosen(HEALTH_CHECK="nomad"))
    meant = {(entry["Address"], entry["Port"]) for entry in listed if type(entry["Port"]) is int}

    assert is_clean(found)
    assert set(found.endpoints) <= meant
    assert 500 < len(found.endpoints) < 10_000 - found.refused + 1
    assert found.server_options
    assert found.allocations
    assert all(len(name) <= 128 for name in found.jobs)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = ("Address", "Port", "Tags", "JobID", "AllocID", "CreateIndex")
SETTINGS = [
    chosen(),
    chosen(SERVICE_JOB="a", SERVICE_TAGS="b,c", HEALTH_CHECK="nomad"),
]


@hypothesis(max_examples=60, deadline=None)
@given(st.lists(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON))))
def test_S01_any_json_is_survived(listed: list[object]) -> None:
    """
    Any JSON in the place of a row is refused or passed over, and loses only itself.
    """
    good = row("web", "10.9.8.7", 4321, job="a", tags=["c", "b", "lb.drain"])
    for each in SETTINGS:
        alone, found = select(listed, each), select([*listed, good], each)
        assert (Endpoint("10.9.8.7", 4321),) == tuple(
            e for e in found.endpoints if e not in alone.endpoints
        )
        assert (alone.refused, alone.skipped) == (found.refused, found.skipped)
        assert len(listed) >= alone.refused + alone.skipped + len(alone.endpoints)
