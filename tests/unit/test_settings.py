"""
The settings: one table, all mistakes at once, and defaults that know where we were placed.
"""

import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import placement, settings
from supervisor.admission import Rules, Site
from supervisor.errors import ExitCode, Problem
from supervisor.settings import Settings


def read(exists: tuple[str, ...] = (), **environ: str) -> Settings:
    """Read settings from these variables, with these paths there."""
    return settings.read(environ, lambda path: path in exists)


def mistakes(**environ: str) -> tuple[str, ...]:
    """Return the lines that reading these variables ends with."""
    with pytest.raises(Problem) as caught:
        read(**environ)
    assert ExitCode.CONFIG == caught.value.code
    return caught.value.lines


def test_a_service_is_all_that_is_needed() -> None:
    """
    Everything else has a default.
    """
    found = read(SERVICE_NAME="web")

    assert (("web",), 86400.0, 8080, 30.0, 4.0) == (
        found.service_name,
        found.ttl,
        found.listen_port,
        found.drain_timeout,
        found.stop_timeout,
    )
    assert ((), "", None, "default") == (
        found.listen_address,
        found.runtime_dir,
        found.deadline,
        found.nomad_namespace,
    )


def test_values_are_read() -> None:
    """
    Each kind of value, once.
    """
    found = read(
        ENDPOINTS="10.0.0.1:80, [fd00::1]:81, replica:82",
        TTL="never",
        DEADLINE="1800000000",
        LISTEN_PORT="80",
        LISTEN_ADDRESS="127.0.0.1,[::1]",
        READY_PATH="off",
        MAX_BODY_SIZE="20m",
        ALLOW_NETWORKS="10.0.0.0/8",
        LB_METHOD="RANDOM",
        RUNTIME_DIR="/tmp/run/",
    )

    assert (Site("10.0.0.1", 80), Site("fd00::1", 81), Site("replica", 82)) == found.endpoints
    assert (None, 1.8e9, 80) == (found.ttl, found.deadline, found.listen_port)
    assert (("127.0.0.1", "::1"), "", 20 << 20) == (
        found.listen_address,
        found.ready_path,
        found.max_body_size,
    )
    assert ("random", "/tmp/run") == (found.lb_method, found.runtime_dir)
    assert Rules((ipaddress.ip_network("10.0.0.0/8"),), loopback=True) == found.rules


def test_all_mistakes_are_told_together() -> None:
    """
    A job is redeployed for each try: one try shows everything.
    """
    lines = mistakes(TTL="soon", LISTEN_PORT="99999", LB_METHOD="magic", DRAIN_TIMEOUT="-1")

    assert 5 == len(lines)
    assert "TTL='soon': expected a duration such as 90, 1.5h or 1h30m" in lines
    assert any(
        line.startswith("SERVICE_NAME, ENDPOINTS or ENDPOINTS_FILE: one of") for line in lines
    )


@pytest.mark.parametrize(
    "name, value",
    [
        ("SERVICE_NAME", "my_service"),
        ("SERVICE_NAME", "a" * 64),
        ("ENDPOINTS", "10.0.0.1"),
        ("ENDPOINTS", "10.0.0.1:0"),
        ("ENDPOINTS", "fd00::1:80"),
        ("ENDPOINTS", "[10.0.0.1]:80"),
        ("ENDPOINTS", "bad host:80"),
        ("ENDPOINTS", ":80"),
        ("LISTEN_PORT", "\uff18\uff10"),
        ("LISTEN_PORT", "0"),
        ("LISTEN_ADDRESS", "localhost"),
        ("LISTEN_ADDRESS", "fe80::1%eth0"),
        ("READY_PATH", "ready"),
        ("READY_PATH", "/a;return 200"),
        ("READY_PATH", "/../x"),
        ("READY_PATH", "//x"),
        ("RUNTIME_DIR", "relative"),
        ("RUNTIME_DIR", '/tmp/"; }'),
        ("RUNTIME_DIR", "/tmp/$host"),
        ("MAX_BODY_SIZE", "20x"),
        ("ALLOW_NETWORKS", "10.0.0.1/8"),
        ("RELOAD_INTERVAL", "0"),
        ("NOMAD_NAMESPACE", "*"),
        ("NOMAD_NAMESPACE", "a b"),
        ("NOMAD_ADDR", "https://nomad:4646"),
        ("NOMAD_ADDR", "ftp://nomad"),
        ("NOMAD_TOKEN", "a\nb"),
        ("NOMAD_REGION", "é"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, value: str) -> None:
    """
    The line names the variable and the value, but never a token.
    """
    environ = {"SERVICE_NAME": "web", name: value}
    if name == "ENDPOINTS":
        del environ["SERVICE_NAME"]
    lines = mistakes(**environ)

    assert 1 == len(lines)
    assert lines[0].startswith(f"{name}=")
    assert "expected" in lines[0]
    assert ("(hidden)" if name == "NOMAD_TOKEN" else repr(value)) in lines[0]


def test_only_one_source_of_endpoints() -> None:
    """
    Two of them would be a riddle which one counts.
    """
    (line,) = mistakes(SERVICE_NAME="web", ENDPOINTS_FILE="/tmp/list")

    assert line.endswith("set only one, not SERVICE_NAME and ENDPOINTS_FILE")


def test_duration_is_another_name_for_ttl() -> None:
    """
    Both may be set when they agree.
    """
    assert 60.0 == read(SERVICE_NAME="web", DURATION="60").ttl
    assert 60.0 == read(SERVICE_NAME="web", DURATION="60", TTL="60").ttl
    assert ("TTL='61' and DURATION='60' differ: set one of them, they mean the same",) == mistakes(
        SERVICE_NAME="web", DURATION="60", TTL="61"
    )


def test_blank_is_not_set() -> None:
    """
    A Nomad template that renders nothing leaves the default.
    """
    assert 86400.0 == read(SERVICE_NAME="web", TTL="  ").ttl


def test_nomads_own_variables_are_honoured() -> None:
    """
    In a task with an identity nothing but the service has to be set.
    """
    placed = {
        "NOMAD_PORT_http": "21000",
        "NOMAD_ALLOC_DIR": "/alloc",
        "NOMAD_TASK_NAME": "lb",
        "NOMAD_SECRETS_DIR": "/secrets",
    }
    there = ("/secrets/api.sock", "/secrets/nomad_token")
    found = read(there, SERVICE_NAME="web", **placed)

    assert 21000 == found.listen_port
    assert "/alloc/data/autoexit-nginx/lb" == found.state_dir
    assert ("unix:///secrets/api.sock", "/secrets/nomad_token") == (
        found.nomad_addr,
        found.nomad_token_file,
    )
    assert "http://127.0.0.1:4646" == read(SERVICE_NAME="web", **placed).nomad_addr
    assert "unix:///x/y" == read(SERVICE_NAME="web", NOMAD_UNIX_ADDR="unix:///x/y").nomad_addr
    assert (
        "http://n:1"
        == read(there, SERVICE_NAME="web", NOMAD_ADDR="http://n:1/", **placed).nomad_addr
    )


@pytest.mark.parametrize(
    "environ, loopback",
    [
        ({"SERVICE_NAME": "web"}, True),
        ({"ENDPOINTS": "10.0.0.1:80", "NOMAD_ALLOC_ID": "a"}, True),
        ({"SERVICE_NAME": "web", "NOMAD_ALLOC_ID": "a"}, False),
        ({"SERVICE_NAME": "web", "NOMAD_ALLOC_ID": "a", "NOMAD_IP_http": "10.1.1.1"}, False),
        ({"SERVICE_NAME": "web", "NOMAD_ALLOC_ID": "a", "NOMAD_IP_http": "127.0.0.1"}, True),
        ({"SERVICE_NAME": "web", "NOMAD_ALLOC_ID": "a", "NOMAD_IP_http": "x"}, False),
    ],
)
def test_loopback_is_served_where_it_is_ours(environ: dict[str, str], *, loopback: bool) -> None:
    """
    Inside an allocation loopback is the task's own, and a registry has no business there.
    """
    assert loopback is read(**environ).rules.loopback


def test_slips_of_the_keyboard_are_suspected() -> None:
    """
    A variable close to one of ours is pointed out; strangers and Nomad's are not.
    """
    environ = {
        "SERVICE_NAMES": "x",
        "DRAIN_TIMOUT": "1s",
        "HOME": "/",
        "NOMAD_ADDR_x": "",
        "DURATION": "1",
    }

    assert [
        ("DRAIN_TIMOUT", "DRAIN_TIMEOUT"),
        ("SERVICE_NAMES", "SERVICE_NAME"),
    ] == settings.suspects(environ)


def test_the_table_has_a_row_for_each_setting() -> None:
    """
    What is validated is what is shown.
    """
    rows = {name: (default, meaning) for name, default, meaning in settings.table()}

    assert ("`24h`", rows["TTL"][1]) == rows["TTL"]
    assert "" == rows["SERVICE_NAME"][0]
    assert all(meaning for _, meaning in rows.values())


def test_the_runtime_folder_is_named_after_the_port() -> None:
    """
    The health check finds the supervisor by the same rule.
    """
    assert ["/x"] == placement.runtime_candidates({"RUNTIME_DIR": "/x/"}, "/tmp")
    assert ["/run/autoexit-nginx/8080", "/tmp/autoexit-nginx/8080"] == placement.runtime_candidates(
        {}, "/tmp"
    )
    assert (
        "/local/9"
        == placement.runtime_candidates(
            {"NOMAD_TASK_DIR": "/local", "NOMAD_PORT_http": "9"}, "/tmp"
        )[1]
    )


def test_without_a_task_name_the_state_still_has_a_place() -> None:
    """
    Nomad always sets it; others who set NOMAD_ALLOC_DIR may not.
    """
    assert (
        "/a/data/autoexit-nginx/task"
        == placement.defaults({"NOMAD_ALLOC_DIR": "/a"}, bool)["STATE_DIR"]
    )


@given(
    st.dictionaries(
        st.sampled_from([name for name, _, _ in settings.table()]), st.text(max_size=40)
    )
)
def test_no_environment_does_harm(environ: dict[str, str]) -> None:
    """
    Whatever the variables hold, the answer is settings or a list of mistakes.
    """
    with suppress(Problem):
        settings.read(environ, lambda _: False)
