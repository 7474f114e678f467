import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from supervisor.core.config import load
from supervisor.core.config.settings import Settings
from supervisor.core.model import Endpoint, Origin, ServerOptions, Unselected
from supervisor.discovery.selection import Selection, select
from tests.support.nomad_registry import row
from tests.support.policy_simulation import endpoints


def settings_for(**environ: str) -> Settings:
    """
    Return the settings of a balancer for the service `web`.
    """
    return load.read({"SERVICE_NAME": "web", **environ}, lambda _: False)


def rows(*numbers: int, **fields: Any) -> list[dict[str, object]]:
    """
    Return a row for each number, for the endpoint of `endpoints`, with these fields replaced.
    """
    listed = zip(numbers, endpoints(*numbers), strict=True)
    return [row("web", e.host, e.port, index=number) | fields for number, e in listed]


def test_all_instances_are_selected_by_default() -> None:
    """
    Their job and their tags do not matter.
    """
    found = select([*rows(2, JobID="b"), *rows(1, JobID="a", Tags=None)], settings_for())

    assert endpoints(1, 2) == found.endpoints
    assert ({}, {}, ("a", "b")) == (found.server_options, found.allocations, found.jobs)
    assert (0, 0, 0, 0) == (found.refused, found.over_limit, found.skipped, found.invalid_tags)


def test_S03_service_job_self_selects_only_the_own_job() -> None:
    """
    SERVICE_JOB=self is the supervisor's own job; instances that another job registered under the
    same name are skipped, whatever their other fields contain.
    """
    settings = settings_for(SERVICE_JOB="self", NOMAD_JOB_ID="größe/dispatch-1")
    others = ["größe", "größe/dispatch-12", "GRÖSSE/dispatch-1", " größe/dispatch-1", ""]
    foreign = [*(r for n, job in enumerate(others, 2) for r in rows(n, JobID=job)), {"JobID": "x"}]
    found = select([*rows(1, JobID="größe/dispatch-1"), *foreign], settings)

    assert endpoints(1) == found.endpoints
    assert (len(foreign), 0, ()) == (found.skipped, found.refused, found.jobs)


def test_the_own_address_among_others_has_a_reason() -> None:
    """
    It is left out; another balancer of the same name would be served, and serve this one.
    """
    own = {"NOMAD_HOST_IP_http": "10.0.0.1", "NOMAD_HOST_PORT_http": "1", "NOMAD_PORT_http": "8080"}
    found = select(rows(1, 2), settings_for(**own))

    assert (endpoints(2), 1, 0) == (found.endpoints, found.skipped, found.refused)
    (reason,) = found.reasons
    assert reason.startswith("10.0.0.1:1 is this balancer itself: let it register another service")


def test_S03_multiple_jobs_are_reported() -> None:
    """
    By default all are served, and their jobs reported: five names at most, each 128 characters at
    most.
    """
    names = ["e", "d", "c", "b", "a" * 300, "f"]
    listed = [each for n, name in enumerate(names, 1) for each in rows(n, JobID=name)]
    unnamed = [
        *rows(7, JobID=""),
        *rows(8, JobID=None),
        *rows(9, JobID=["a"]),
        {"JobID": "refused"},
    ]
    found = select([*listed, *listed, *unnamed], settings_for())

    assert 9 == len(found.endpoints)
    assert ("a" * 128, "b", "c", "d", "e") == found.jobs
    assert ("e",) == select(rows(1, 2, JobID="e"), settings_for()).jobs


def test_service_job_selects_another_job() -> None:
    """
    Only its instances are selected; a row whose job is invalid is refused, not skipped.
    """
    settings = settings_for(SERVICE_JOB="b")
    found = select([*rows(1, JobID="a"), *rows(2, JobID="b"), *rows(3, JobID=7)], settings)

    assert (endpoints(2), 1, 1) == (found.endpoints, found.skipped, found.refused)


def test_all_service_tags_are_required() -> None:
    """
    SERVICE_TAGS are compared in full; null means no tags, and a value that is no list is refused.
    """
    listed = [
        *rows(1, Tags=["gpu", "v2", "x"]),
        *rows(2, Tags=["gpu"]),
        *rows(3, Tags=["gpu", "v22"]),
        *rows(4, Tags=None),
        *rows(5, Tags="gpu,v2"),
        *rows(6, Tags=[["gpu"], {}, None, "v2", "gpu"]),
    ]
    found = select(listed, settings_for(SERVICE_TAGS="gpu, v2"))

    assert (endpoints(1, 6), 3, 1) == (found.endpoints, found.skipped, found.refused)


def test_E12_the_own_address_and_port_are_skipped() -> None:
    """
    A balancer registered under its own SERVICE_NAME never serves itself, at any address: local,
    loopback, mapped into IPv6, and published by Nomad.  Another service on the host is served.
    """
    published = {"NOMAD_IP_http": "192.0.2.1", "NOMAD_HOST_PORT_http": "21000"}
    settings = load.read(
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
    found = select([row("web", *address) for address in [*own, *others]], settings)

    assert sorted(Endpoint(*address) for address in others) == list(found.endpoints)
    assert (len(own), 0) == (found.skipped, found.refused)


def test_the_first_reasons_of_refused_rows_are_reported() -> None:
    """
    Each once, three at most, however many rows there are; a long value is shortened.
    """
    listed = [
        *(row("web", "replica.example", 80) for _ in range(5)),
        row("web", "x y" * 100, 80),
        row("web", "169.254.169.254", 80),
        row("web", "224.0.0.1", 80),
    ]
    found = select([*listed, *rows(1)], settings_for())

    assert (endpoints(1), 8) == (found.endpoints, found.refused)
    assert found.reasons == (
        "'replica.example' is a name, not an IP address",
        f"'{('x y' * 100)[:79]}... is not an IP address",
        "169.254.169.254 is a special address; set ALLOW_NETWORKS to serve it",
    )


def test_a_response_of_skipped_rows_is_valid() -> None:
    """
    A response is rejected only if all its rows are refused; a skipped row makes it valid.
    """
    filtered = settings_for(SERVICE_JOB="ours")

    assert select([{}], filtered).all_rejected
    assert select(["x", None, *rows(1, JobID=None)], filtered).all_rejected
    assert select([{}, *rows(1, JobID="theirs")], filtered).all_rejected
    assert not select(rows(1, JobID="theirs"), filtered).all_rejected
    assert not select([{}, *rows(1, JobID="ours")], filtered).all_rejected
    assert not select([], filtered).all_rejected
    assert not select([row("web", "127.0.0.8", 8080)], settings_for()).all_rejected


def test_options_from_tags_are_returned() -> None:
    """
    Only endpoints with options other than the default are included.
    """
    listed = [
        *rows(1, Tags=["lb.weight=5"]),
        *rows(2, Tags=["lb.weight=1", "x"]),
        *rows(3, Tags=["lb.backup", "lb.drian"]),
        *rows(4, Tags=["lb.weight=1", "lb.weight=2"]),
    ]
    found = select(listed, settings_for())
    one, three = endpoints(1, 3)

    assert {one: ServerOptions(weight=5), three: ServerOptions(backup=True)} == found.server_options
    assert 3 == found.invalid_tags


@pytest.mark.parametrize("is_reversed", [False, True])
def test_duplicates_are_one_endpoint(*, is_reversed: bool) -> None:
    """
    The larger weight, a backup only if all rows are: in any order.  Draining rows do not count
    unless all of them drain.
    """
    listed = [
        *rows(1, Tags=["lb.weight=5", "lb.backup"]),
        *rows(1, Tags=["lb.weight=7"]),
        *rows(2, Tags=["lb.backup"]),
        *rows(2, Tags=["lb.weight=9", "lb.drain"]),
        *rows(3, Tags=["lb.backup"]),
        *rows(3),
        *rows(4, Tags=["lb.weight=2", "lb.drain"]),
        *rows(4, Tags=["lb.drain"]),
    ]
    found = select(listed[::-1] if is_reversed else listed, settings_for())
    one, two, three, four = endpoints(1, 2, 3, 4)

    assert (one, two, three, four) == found.endpoints
    assert {
        one: ServerOptions(weight=7),
        two: ServerOptions(1, backup=True),
        four: ServerOptions(2, drain=True),
    } == found.server_options


ALLOCATIONS = [f"{n}3b7a3d0-1d2e-4f0a-9b8c-0a1b2c3d4e5f" for n in "abc"]


def test_allocations_are_returned_for_health_check_nomad() -> None:
    """
    Only then, and only valid UUIDs: they become part of a path.
    """
    a = ALLOCATIONS[0]
    bad = [a + "\n", a[:-1], a + "0", "../" + a, "g" + a[1:], a.replace("-", ""), None, 5, ""]
    listed = [
        *rows(1, AllocID=a),
        *(r for n, text in enumerate(bad, 2) for r in rows(n, AllocID=text)),
    ]
    found = select(listed, settings_for(HEALTH_CHECK="nomad"))

    assert dict(zip(endpoints(1), [a], strict=True)) == found.allocations
    assert 1 + len(bad) == len(found.endpoints)
    assert {} == select(listed, settings_for()).allocations


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_reused_address_belongs_to_the_newer_allocation(*, is_reversed: bool) -> None:
    """
    With a stale row for a reused port the later registration counts, in any order of rows.
    """
    a, b, c = ALLOCATIONS
    listed = [
        *rows(1, AllocID=c, CreateIndex=8),
        *rows(1, AllocID=a, CreateIndex=9),
        *rows(1, AllocID=b, CreateIndex="10"),
    ]
    found = select(listed[::-1] if is_reversed else listed, settings_for(HEALTH_CHECK="nomad"))

    assert dict.fromkeys(endpoints(1), a) == found.allocations


def test_E14_endpoints_over_the_limit_are_counted() -> None:
    """
    Of 10,001 endpoints 10,000 are served, the same ones in any order of rows, and the other one
    is not in the result.
    """
    listed = [
        row("web", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 80, tags=["lb.weight=2"])
        for n in range(10_001)
    ]
    checked = settings_for(HEALTH_CHECK="nomad")
    found, reordered = select(listed, checked), select(listed[::-1], checked)

    assert (10_000, 1) == (len(found.endpoints), found.over_limit)
    assert found == reordered
    assert set(found.endpoints) == found.server_options.keys() == found.allocations.keys()


def test_E05_an_invalid_row_does_not_affect_the_others() -> None:
    """
    Each one is refused and counted; the valid ones are served.
    """
    invalid: list[object] = [
        *(None, "x", 5, [], {}, [{}], {"Port": 1}, {"Address": "10.0.0.1"}, True, 1.5),
        *(row("web", "10.0.0.9", port) for port in (0, -1, 65536, 2**70)),
        *(row("web", "10.0.0.9", 1) | {"Port": port} for port in ("80", 80.0, None, True, [80])),
        *(row("web", text, 80) for text in ("", "host", "10.0.0.9:80", "10.0.0.256", "0.0.0.0")),
        *(row("web", "x", 80) | {"Address": value} for value in (None, 5, ["10.0.0.9"], {})),
    ]
    found = select([*invalid, *rows(1), *invalid, *rows(2)], settings_for())

    assert (endpoints(1, 2), 2 * len(invalid)) == (found.endpoints, found.refused)


def test_skipped_rows_do_not_make_a_change() -> None:
    """
    Two selections are equal if they serve the same endpoints in the same way.
    """
    settings = settings_for(SERVICE_JOB="a")

    assert select(rows(1, JobID="a"), settings) == select(
        [*rows(1, JobID="a"), *rows(2, JobID="b"), {}], settings
    )
    assert select(rows(1, JobID="a"), settings) != select(
        rows(1, JobID="a", Tags=["lb.drain"]), settings
    )


# --------------------------------------------------------------------------- hostile registrations

HOSTILE = [
    *(";", "{", "}", "$", "#", "\n", "\r", "\0", "%", "\\", '"', "'", "`", " ", "\t", "/", ":"),
    *("é", "\u0660", "\uff11", "\u2028", "\ud800", "\U0001f600", "server 10.0.0.1;", "${x}", "../"),
    *("lb.", "weight=", "lb.weight=9", "lb.backup", "10.0.0.1", "fe80::1", "%eth0", "0", "65535"),
]


def hostile_text(rng: random.Random) -> str:
    """
    Return a random text with hostile parts.
    """
    return "".join(rng.choices(HOSTILE, k=rng.randrange(5)))


def hostile_row(rng: random.Random) -> object:
    """
    Return a row with hostile texts in every field; some have a valid address and port.
    """
    anything = [None, True, -1, 2**70, 80.5, [], {}, [[]]]
    address = f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    return {
        "Address": rng.choice(
            [address, address, address + hostile_text(rng), hostile_text(rng), None]
        ),
        "Port": rng.choice([rng.randrange(1, 65536), 8000, hostile_text(rng), *anything]),
        "Tags": rng.choice(
            [None, hostile_text(rng), [hostile_text(rng), hostile_text(rng)], *anything]
        ),
        "ServiceName": hostile_text(rng),
        "JobID": rng.choice([hostile_text(rng), *anything]),
        "AllocID": rng.choice([hostile_text(rng), ALLOCATIONS[0] + hostile_text(rng), *anything]),
        "ID": hostile_text(rng),
        "CreateIndex": rng.choice([3, hostile_text(rng), *anything]),
        hostile_text(rng): hostile_text(rng),
    }


def is_clean(found: Selection) -> bool:
    """
    Tell whether all results are numbers, addresses, or UUIDs.
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
def test_S01_no_text_of_the_registry_is_returned(seed: int) -> None:
    """
    Of 10,000 rows with hostile texts in every field, endpoints are addresses and ports that were
    registered as such, options are numbers and booleans, and each row is counted.
    """
    rng = random.Random(seed)
    listed: list[Any] = [hostile_row(rng) for _ in range(10_000)]
    found = select(listed, settings_for(HEALTH_CHECK="nomad"))
    valid = {(entry["Address"], entry["Port"]) for entry in listed if type(entry["Port"]) is int}

    assert is_clean(found)
    assert set(found.endpoints) <= valid
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
    settings_for(),
    settings_for(SERVICE_JOB="a", SERVICE_TAGS="b,c", HEALTH_CHECK="nomad"),
]


@hypothesis(max_examples=60, deadline=None)
@given(st.lists(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON))))
def test_S01_any_json_is_handled(listed: list[object]) -> None:
    """
    Any JSON instead of a row is refused or skipped, and does not affect the others.
    """
    good = row("web", "10.9.8.7", 4321, job="a", tags=["c", "b", "lb.drain"])
    for each in SETTINGS:
        alone, found = select(listed, each), select([*listed, good], each)
        assert (Endpoint("10.9.8.7", 4321),) == tuple(
            e for e in found.endpoints if e not in alone.endpoints
        )
        assert (alone.refused, alone.skipped) == (found.refused, found.skipped)
        assert len(listed) >= alone.refused + alone.skipped + len(alone.endpoints)


def test_what_is_listed_without_an_endpoint_is_described() -> None:
    """
    The jobs and tags that the instances have instead, a few of each and printable; nothing once
    one is selected.
    """
    tagged = [*rows(1, Tags=["b", "a\x1b"]), *rows(2, Tags=None), *rows(3, Tags=["c" * 99, 7])]
    found = select(tagged, settings_for(SERVICE_TAGS="x")).unselected
    assert Unselected(3, (), ("a?", "b", "c" * 64)) == found

    settings = settings_for(SERVICE_JOB="mine", SERVICE_TAGS="x")
    mixed = [*rows(1, JobID="theirs"), *rows(2, JobID="mine", Tags=["y"])]
    assert Unselected(2, ("theirs",), ("y",)) == select(mixed, settings).unselected

    many = [row for n in range(1, 30) for row in rows(n, JobID=f"job-{n}", Tags=[f"tag-{n}"])]
    assert 5 == len(select(many, settings_for(SERVICE_JOB="x")).unselected.jobs)
    assert 10 == len(select(many, settings_for(SERVICE_TAGS="x")).unselected.tags)
    assert Unselected() == select([*mixed, *many], settings_for()).unselected
    assert Unselected() == select([], settings_for()).unselected
    assert Unselected(2) == select(["x", {"JobID": 7}], settings_for(SERVICE_JOB="y")).unselected


def test_the_own_address_alone_is_described() -> None:
    """
    The balancer registered the service that it serves.
    """
    (own,) = rows(1, Address="127.0.0.1", Port=8080)

    assert Unselected(1, own=1) == select([own], settings_for()).unselected


def test_the_origin_of_an_endpoint_is_selected() -> None:
    """
    Allocation, node and job of its row; text that cannot be shown is left out, long text is cut.
    """
    (one,) = endpoints(1)
    for fields, origin in (
        ({}, Origin("a", "n", "j")),
        ({"NodeID": None, "JobID": 7}, Origin("a", "", "")),
        ({"AllocID": "\x1b[2J", "JobID": "x" * 200}, Origin("", "n", "x" * 128)),
    ):
        given = {"AllocID": "a", "NodeID": "n", "JobID": "j", **fields}
        assert {one: origin} == select(rows(1, **given), settings_for()).origins
    none = rows(1, AllocID=None, NodeID="", JobID=["j"])
    assert {} == select(none, settings_for()).origins


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_reused_address_the_newer_origin_is_selected(order: int) -> None:
    """
    In any order of the rows; a change of it alone is no change of the selection.
    """
    old, new = rows(1, AllocID="old", CreateIndex=5), rows(1, AllocID="new", CreateIndex=6)
    listed = [*old, *rows(1, AllocID="odd", CreateIndex="9"), *new][::order]
    found = select(listed, settings_for())

    assert ["new"] == [origin.allocation for origin in found.origins.values()]
    assert found == select(old, settings_for())
