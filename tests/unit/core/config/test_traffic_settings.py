"""
Traffic settings: valid values, refused values, and values that this nginx does not support.
"""

import ipaddress

import pytest

from supervisor.core.config import load
from supervisor.core.config.settings import Settings
from supervisor.core.errors import ExitCode, Problem
from supervisor.nginx.render import unsupported

#: Text that would inject directives if it reached a config file.
INJECTIONS = ["; } x {", "$host", "'", '"', "\\", "#", "\n", "\r", "\t", "{", "}", " x", "\0", "é"]


def read(**environ: str) -> Settings:
    """Read settings together with a service."""
    return load.read({"SERVICE_NAME": "web", **environ}, lambda _: False)


def mistakes(**environ: str) -> tuple[str, ...]:
    """Return the mistakes reported for these variables."""
    with pytest.raises(Problem) as caught:
        read(**environ)
    assert ExitCode.CONFIG == caught.value.code
    return caught.value.lines


@pytest.mark.parametrize(
    "key", ["ip", "uri", "header:X-User", "header:authorization", "cookie:session_id", "cookie:A1"]
)
def test_hash_keys_are_accepted(key: str) -> None:
    """
    A key is the address, the URI, a header, or a cookie whose name is valid in an nginx variable.
    """
    assert key == read(LB_METHOD="hash", LB_HASH_KEY=key).lb_hash_key


@pytest.mark.parametrize(
    "key",
    [
        *("IP", "host", "$remote_addr", "header", "header:", "header:-x", "header:1", "header:a_b"),
        *("cookie:", "cookie:a-b", "cookie:a.b", "query:x", "ip,uri", "header:" + "a" * 65),
        *(f"header:x{each}y" for each in INJECTIONS),
        *(f"cookie:x{each}y" for each in INJECTIONS),
        *(f"ip{each}y" for each in INJECTIONS),
    ],
)
def test_an_invalid_hash_key_is_refused(key: str) -> None:
    """
    Only fixed values and names of limited characters reach the configuration.
    """
    (line,) = mistakes(LB_METHOD="hash", LB_HASH_KEY=key)

    assert line.startswith("LB_HASH_KEY=")
    assert line.endswith("expected ip, uri, header:NAME or cookie:NAME")


def test_hash_requires_a_key_and_a_key_requires_hash() -> None:
    """
    Either without the other would have no effect and is a mistake.
    """
    assert ("LB_METHOD=hash: set LB_HASH_KEY to ip, uri, header:NAME or cookie:NAME",) == mistakes(
        LB_METHOD="hash"
    )
    for method in ({}, {"LB_METHOD": "ip_hash"}, {"LB_METHOD": "least_conn"}):
        assert ("LB_HASH_KEY requires LB_METHOD=hash: set both",) == mistakes(
            LB_HASH_KEY="ip", **method
        )
    assert "hash" == read(LB_METHOD="HASH", LB_HASH_KEY="ip").lb_method


def test_trusted_proxies_are_unique_networks() -> None:
    """
    An address is a network of one; two spellings of a network are one.
    """
    found = read(
        TRUSTED_PROXIES="10.0.0.0/8, 10.1.0.0/16,10.0.0.0/255.0.0.0,::1,::1/128,0.0.0.0/0,"
    ).trusted_proxies

    assert [
        ipaddress.ip_network(each) for each in ("10.0.0.0/8", "10.1.0.0/16", "::1/128", "0.0.0.0/0")
    ] == list(found)


@pytest.mark.parametrize(
    "text",
    [
        *("fe80::1%eth0; } x {", "fe80::1%eth0", "fe80::%x/64", "::1%{}/128", "10.0.0.1/8"),
        *("10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/8/8", "010.0.0.1", "10.0.0", "proxy"),
        *("unix:", "all", "10.0.0.0 /8", "\uff11\uff10.0.0.0/8", "10.0.0.0/\u0668", "10.0.0.0/8;"),
        *(f"10.0.0.0/8{each}1" for each in INJECTIONS),
        *(f"fd00::{each}/64" for each in INJECTIONS),
    ],
)
def test_an_invalid_network_is_refused(text: str) -> None:
    """
    `ipaddress` accepts `fe80::1%eth0; } x {` and returns it unchanged, so networks are matched in
    full before they reach the configuration.
    """
    for given in (text, f"10.0.0.0/8,{text}", f"{text},::1"):
        (line,) = mistakes(TRUSTED_PROXIES=given)
        assert line.startswith("TRUSTED_PROXIES=")
        assert "expected networks such as 10.0.0.0/8" in line


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("STICKY", "ip", "expected one of cookie, off"),
        ("STICKY", "cookie; }", "expected one of cookie, off"),
        ("ACCESS_LOG", "combined", "expected one of off, json"),
        ("ACCESS_LOG", "/var/log/access.log", "expected one of off, json"),
        ("LB_METHOD", "least_time", "expected one of round_robin, least_conn, random, ip_hash"),
        ("MAX_DRAINING", "0", "expected a whole number from 1 to 100"),
        ("MAX_DRAINING", "101", "expected a whole number from 1 to 100"),
        ("CONNECT_TIMEOUT", "0", "expected a duration longer than 0"),
        ("REQUEST_TIMEOUT", "0s", "expected a duration longer than 0"),
        ("MAX_BODY_SIZE", "-1", "expected a size such as 0, 512k, 20m or 2g"),
        ("MAX_BODY_SIZE", "1.5g", "expected a size such as 0, 512k, 20m or 2g"),
    ],
)
def test_a_mistake_states_the_expected_value(name: str, value: str, expected: str) -> None:
    """
    Each mistake is a line with the variable, the value, and the expected form.
    """
    (line,) = mistakes(**{name: value})

    assert line.startswith(f"{name}={value!r}: {expected}")


def test_values_are_accepted_in_any_case() -> None:
    """
    `JSON` is read as `json`.
    """
    found = read(STICKY="Cookie", ACCESS_LOG="JSON", MAX_BODY_SIZE="2G", LB_METHOD="Random")

    assert ("cookie", "json", 2 << 30, "random") == (
        found.sticky,
        found.access_log,
        found.max_body_size,
        found.lb_method,
    )


@pytest.mark.parametrize("nginx", [(1, 18, 0), (1, 22, 1), (1, 29, 5)])
def test_sticky_on_an_older_nginx_is_a_mistake(nginx: tuple[int, ...]) -> None:
    """
    The line contains both versions and the alternative.
    """
    (line,) = unsupported(read(STICKY="cookie"), nginx)

    assert line.startswith("STICKY='cookie': needs nginx 1.29.6 or newer, this is ")
    assert (
        f"this is {'.'.join(map(str, nginx))}; use LB_METHOD=hash with LB_HASH_KEY=cookie" in line
    )
    assert [] == unsupported(read(), nginx)


@pytest.mark.parametrize("nginx", [(1, 29, 6), (1, 30, 0), (1, 31, 3), (2, 0, 0)])
def test_a_current_nginx_supports_all_settings(nginx: tuple[int, ...]) -> None:
    """
    `sticky` is available from 1.29.6.
    """
    assert [] == unsupported(read(STICKY="cookie"), nginx)
