"""
Settings: one table, all mistakes reported at once, and defaults from Nomad.
"""

import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from supervisor.core.addresses import AddressPolicy, HostPort
from supervisor.core.config import load, nomad_env
from supervisor.core.config.paths import runtime_candidates
from supervisor.core.config.settings import Settings
from supervisor.core.config.suspects import _is_one_typing_error as is_one_typing_error
from supervisor.core.errors import ExitCode, Problem
from supervisor.core.model import Endpoint


def read(exists: tuple[str, ...] = (), **environ: str) -> Settings:
    """Read settings from these variables; the given paths exist."""
    return load.read(environ, lambda path: path in exists)


def mistakes(exists: tuple[str, ...] = (), **environ: str) -> tuple[str, ...]:
    """Return the mistakes reported for these variables."""
    with pytest.raises(Problem) as caught:
        read(exists, **environ)
    assert ExitCode.CONFIG == caught.value.code
    return caught.value.lines


def test_a_service_is_the_only_required_setting() -> None:
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
    Each kind of value is read once.
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

    assert (
        HostPort("10.0.0.1", 80),
        HostPort("fd00::1", 81),
        HostPort("replica", 82),
    ) == found.endpoints
    assert (None, 1.8e9, 80) == (found.ttl, found.deadline, found.listen_port)
    assert (("127.0.0.1", "::1"), "", 20 << 20) == (
        found.listen_address,
        found.ready_path,
        found.max_body_size,
    )
    assert ("random", "/tmp/run") == (found.lb_method, found.runtime_dir)
    own = frozenset({Endpoint("127.0.0.1", 80), Endpoint("::1", 80)})
    assert (
        AddressPolicy((ipaddress.ip_network("10.0.0.0/8"),), loopback=True, own=own)
        == found.address_policy
    )


def test_all_mistakes_are_reported_together() -> None:
    """
    One deployment shows every mistake.
    """
    lines = mistakes(TTL="soon", LISTEN_PORT="99999", LB_METHOD="magic", DRAIN_TIMEOUT="-1")

    assert 5 == len(lines)
    assert "TTL='soon': expected a duration such as 90, 1.5h or 1h30m" in lines
    assert any(
        line.startswith("SERVICE_NAME, ENDPOINTS or ENDPOINTS_FILE: set one of") for line in lines
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
        ("NOMAD_ADDR", "ftp://nomad"),
        ("NOMAD_ADDR", "https://nomad:65536"),
        ("NOMAD_ADDR", "http://nomad:0"),
        ("NOMAD_ADDR", "https://user@nomad:4646"),
        ("NOMAD_ADDR", "unix://relative"),
        ("NOMAD_TOKEN", "a\nb"),
        ("NOMAD_REGION", "é"),
        ("NOMAD_TLS_SERVER_NAME", "server global"),
        ("NOMAD_TLS_SERVER_NAME", "-x"),
        ("NOMAD_SKIP_VERIFY", "maybe"),
        ("NOMAD_CACERT", "/nowhere"),
        ("NOMAD_CAPATH", "/nowhere"),
        ("LOG_FORMAT", "xml"),
        ("HEALTH_CHECK", "grpc"),
        ("HEALTH_PATH", "health"),
        ("HEALTH_PATH", "/a b"),
        ("HEALTH_PATH", "/a\r\nHost: x"),
        ("HEALTH_PATH", "/" + "a" * 1001),
        ("HEALTH_INTERVAL", "0"),
        ("HEALTH_TIMEOUT", "0s"),
        ("HEALTH_RISE", "0"),
        ("HEALTH_FALL", "101"),
        ("HEALTH_FAIL_OPEN", "perhaps"),
        ("SUNSET_HEADER", "2"),
        ("LAME_DUCK", "-1s"),
    ],
)
def test_an_invalid_value_is_refused(name: str, value: str) -> None:
    """
    The mistake contains the variable and the value, but never a token.
    """
    environ = {"SERVICE_NAME": "web", name: value}
    if name == "ENDPOINTS":
        del environ["SERVICE_NAME"]
    lines = mistakes(**environ)

    assert 1 == len(lines)
    assert lines[0].startswith(f"{name}=")
    assert "expected" in lines[0] or "no such file" in lines[0]
    assert ("(hidden)" if name == "NOMAD_TOKEN" else repr(value)) in lines[0]


@pytest.mark.parametrize(
    "value", ["http://models", "a b", "a\r\nX: y", "a/b", "[::1", "a:", "-", "a:123456", "a\tb"]
)
def test_an_invalid_host_is_refused(value: str) -> None:
    """
    It is sent in the probe's request, so no other header may be in it.
    """
    (line,) = mistakes(SERVICE_NAME="web", HEALTH_PATH="/", HEALTH_HOST=value)

    assert line.startswith("HEALTH_HOST=")


def test_health_settings_have_defaults() -> None:
    """
    Endpoints are probed by TCP unless a path is set; every health setting has a default.
    """
    found = read(SERVICE_NAME="web")

    assert ("tcp", "", ((200, 399),)) == (
        found.health_check,
        found.health_path,
        found.health_status,
    )
    assert (5.0, 2.0, 1, 2, True) == (
        found.health_interval,
        found.health_timeout,
        found.health_rise,
        found.health_fall,
        found.health_fail_open,
    )
    assert ((), "", True, 0.0) == (
        found.service_tags,
        found.service_job,
        found.sunset_header,
        found.lame_duck,
    )
    assert ("", "", "", "", "", False) == (
        found.nomad_cacert,
        found.nomad_capath,
        found.nomad_client_cert,
        found.nomad_client_key,
        found.nomad_tls_server_name,
        found.nomad_skip_verify,
    )


def test_health_settings_can_be_set() -> None:
    """
    Each value is read once.
    """
    found = read(
        SERVICE_NAME="web",
        HEALTH_CHECK="HTTP",
        HEALTH_PATH="/v2/models/?deep=1&x=%20",
        HEALTH_STATUS="200, 204-299,401",
        HEALTH_INTERVAL="500ms",
        HEALTH_TIMEOUT="1s",
        HEALTH_RISE="3",
        HEALTH_FALL="100",
        HEALTH_FAIL_OPEN="No",
        SERVICE_TAGS="gpu, v2,gpu,",
        SERVICE_JOB="größe/periodic-1",
        SUNSET_HEADER="off",
        LAME_DUCK="10s",
    )

    assert ("http", "/v2/models/?deep=1&x=%20") == (found.health_check, found.health_path)
    assert ((200, 200), (204, 299), (401, 401)) == found.health_status
    assert (0.5, 1.0, 3, 100, False) == (
        found.health_interval,
        found.health_timeout,
        found.health_rise,
        found.health_fall,
        found.health_fail_open,
    )
    assert (("gpu", "v2"), "größe/periodic-1") == (found.service_tags, found.service_job)
    assert (False, 10.0) == (found.sunset_header, found.lame_duck)


@pytest.mark.parametrize(
    "environ, check",
    [
        ({}, "tcp"),
        ({"HEALTH_PATH": "/"}, "http"),
        ({"HEALTH_PATH": "/", "HEALTH_CHECK": "http"}, "http"),
        ({"HEALTH_PATH": "/", "HEALTH_STATUS": "200"}, "http"),
        ({"HEALTH_CHECK": "http"}, "http"),
        ({"HEALTH_CHECK": "Nomad"}, "nomad"),
        ({"HEALTH_CHECK": "off"}, "off"),
    ],
)
def test_a_path_implies_http(environ: dict[str, str], check: str) -> None:
    """
    Setting HEALTH_PATH selects the http check.
    """
    assert check == read(SERVICE_NAME="web", **environ).health_check


@pytest.mark.parametrize("text", [",", "99", "600", "0200", "299-200", "200-", "2xx", "200;201"])
def test_statuses_are_http_statuses(text: str) -> None:
    """
    Single statuses and ascending ranges are accepted.
    """
    (line,) = mistakes(SERVICE_NAME="web", HEALTH_PATH="/", HEALTH_STATUS=text)

    assert line.startswith(f"HEALTH_STATUS={text!r}: expected HTTP statuses such as 200 or 200-399")


def test_self_is_the_supervisors_job() -> None:
    """
    Outside a Nomad job it is a mistake.
    """
    assert "a/b" == read(SERVICE_NAME="web", SERVICE_JOB="self", NOMAD_JOB_ID="a/b").service_job
    assert "a" == read(SERVICE_NAME="web", SERVICE_JOB="a", NOMAD_JOB_ID="b").service_job
    assert "" == read(SERVICE_NAME="web", NOMAD_JOB_ID="größe").service_job
    assert (
        "SERVICE_JOB=self: not running inside a Nomad job (NOMAD_JOB_ID is not set)",
    ) == mistakes(SERVICE_NAME="web", SERVICE_JOB="self")


def test_stop_job_requires_a_nomad_job() -> None:
    """
    Outside a Nomad job AT_DEADLINE=stop-job is a mistake; `exit` is the only other value.
    """
    assert "exit" == read(SERVICE_NAME="web", NOMAD_JOB_ID="a").at_deadline
    for value in ("stop-job", "Stop-Job"):
        variables = {"ENDPOINTS": "10.0.0.1:80", "AT_DEADLINE": value}
        assert "stop-job" == read(**variables, NOMAD_JOB_ID="a/dispatch-1").at_deadline
        assert (
            "AT_DEADLINE=stop-job: not running inside a Nomad job (NOMAD_JOB_ID is not set)",
        ) == mistakes(**variables)
    assert ("AT_DEADLINE='stop': expected one of exit, stop-job",) == mistakes(
        SERVICE_NAME="web", AT_DEADLINE="stop"
    )


def test_the_admin_port_is_off_by_default() -> None:
    """
    The setting or Nomad's port label `admin` sets it; it must differ from the public port.
    """
    assert None is read(SERVICE_NAME="web").admin_port
    assert 9000 == read(SERVICE_NAME="web", ADMIN_PORT="9000").admin_port
    assert 9001 == read(SERVICE_NAME="web", NOMAD_PORT_admin="9001").admin_port
    assert None is read(SERVICE_NAME="web", NOMAD_PORT_admin="9001", ADMIN_PORT="off").admin_port
    for both in (
        {"ADMIN_PORT": "8080"},
        {"ADMIN_PORT": "81", "LISTEN_PORT": "81"},
        {"NOMAD_PORT_admin": "82", "NOMAD_PORT_http": "82"},
    ):
        (line,) = mistakes(SERVICE_NAME="web", **both)
        assert line.endswith(": must differ from LISTEN_PORT")


def test_warnings_are_durations_the_longest_first() -> None:
    """
    Any order is accepted; `off` means none.
    """
    assert (3600.0, 900.0, 300.0, 60.0) == read(SERVICE_NAME="web").warn_at
    assert (90.0, 5.0) == read(SERVICE_NAME="web", WARN_AT="5s, 90,5s").warn_at
    assert () == read(SERVICE_NAME="web", WARN_AT="OFF").warn_at
    assert mistakes(SERVICE_NAME="web", WARN_AT="0")[0].startswith("WARN_AT='0': ")
    assert None is read(SERVICE_NAME="web").max_ttl
    assert 7200.0 == read(SERVICE_NAME="web", MAX_TTL="2h").max_ttl


def test_stop_job_without_a_deadline_has_no_effect() -> None:
    """
    TTL=never may come from a job variable: AT_DEADLINE=stop-job is no mistake then.
    """
    found = read(SERVICE_NAME="web", TTL="never", AT_DEADLINE="stop-job", NOMAD_JOB_ID="a")

    assert (None, "stop-job") == (found.ttl, found.at_deadline)


@pytest.mark.parametrize(
    "environ, line",
    [
        (
            {"SERVICE_NAME": "web", "HEALTH_PATH": "/x", "HEALTH_CHECK": "TCP"},
            "HEALTH_PATH requires HEALTH_CHECK=http, not tcp: set http or remove HEALTH_PATH",
        ),
        (
            {"SERVICE_NAME": "web", "HEALTH_STATUS": "200"},
            "HEALTH_STATUS requires HEALTH_CHECK=http, not tcp: set http or remove HEALTH_STATUS",
        ),
        (
            {"ENDPOINTS": "10.0.0.1:80", "HEALTH_CHECK": "nomad"},
            "HEALTH_CHECK=nomad requires SERVICE_NAME: static endpoints have no checks in Nomad",
        ),
        (
            {"ENDPOINTS": "10.0.0.1:80", "SERVICE_TAGS": "a"},
            "SERVICE_TAGS requires SERVICE_NAME: static endpoints have no tags and no job",
        ),
        (
            {"ENDPOINTS_FILE": "/tmp/list", "SERVICE_JOB": "a"},
            "SERVICE_JOB requires SERVICE_NAME: static endpoints have no tags and no job",
        ),
    ],
)
def test_conflicting_settings_are_mistakes(environ: dict[str, str], line: str) -> None:
    """
    A setting without effect is reported instead of ignored.
    """
    assert (line,) == mistakes(**environ)


def test_a_certificate_requires_its_key() -> None:
    """
    Either alone is a mistake, and so is a missing file.
    """
    files = ("/ca.pem", "/certs", "/cert.pem", "/key.pem")
    found = read(
        files,
        SERVICE_NAME="web",
        NOMAD_ADDR="https://[::1]:4646/",
        NOMAD_CACERT="/ca.pem",
        NOMAD_CAPATH="/certs",
        NOMAD_CLIENT_CERT="/cert.pem",
        NOMAD_CLIENT_KEY="/key.pem",
        NOMAD_TLS_SERVER_NAME="server.global.nomad",
        NOMAD_SKIP_VERIFY="1",
    )

    assert ("https://[::1]:4646", *files) == (
        found.nomad_addr,
        found.nomad_cacert,
        found.nomad_capath,
        found.nomad_client_cert,
        found.nomad_client_key,
    )
    assert ("server.global.nomad", True) == (found.nomad_tls_server_name, found.nomad_skip_verify)
    both = "NOMAD_CLIENT_CERT and NOMAD_CLIENT_KEY: set both, a certificate requires its key"
    assert (both,) == mistakes(files, SERVICE_NAME="web", NOMAD_CLIENT_CERT="/cert.pem")
    assert (both,) == mistakes(files, SERVICE_NAME="web", NOMAD_CLIENT_KEY="/key.pem")
    assert ("NOMAD_CLIENT_KEY='/key.pem': no such file or directory",) == mistakes(
        files[:3], SERVICE_NAME="web", NOMAD_CLIENT_CERT="/cert.pem", NOMAD_CLIENT_KEY="/key.pem"
    )


@pytest.mark.parametrize(
    "address", ["https://nomad:4646", "http://n", "https://10.0.0.1:65535", "unix:///a/b.sock"]
)
def test_nomads_address_is_http_https_or_a_socket(address: str) -> None:
    """
    Each form is accepted.
    """
    assert address == read(SERVICE_NAME="web", NOMAD_ADDR=address).nomad_addr


def test_own_addresses_become_the_address_policy() -> None:
    """
    It combines the given local addresses with Nomad's variables.
    """
    found = load.read({"SERVICE_NAME": "web", "LISTEN_PORT": "81"}, lambda _: False, ["10.0.0.5"])

    assert (
        AddressPolicy(
            loopback=True, own=frozenset({Endpoint("10.0.0.5", 81)}), own_loopback=frozenset({81})
        )
        == found.address_policy
    )


def test_an_unknown_value_is_reported_with_the_allowed_ones() -> None:
    """
    The empty value for unset is not listed.
    """
    (line,) = mistakes(SERVICE_NAME="web", HEALTH_CHECK="ping")

    assert line == "HEALTH_CHECK='ping': expected one of tcp, http, nomad, off"


def test_only_one_source_of_endpoints() -> None:
    """
    Two sources are a mistake.
    """
    (line,) = mistakes(SERVICE_NAME="web", ENDPOINTS_FILE="/tmp/list")

    assert line.endswith("set only one, not SERVICE_NAME and ENDPOINTS_FILE")


def test_duration_is_an_alias_of_ttl() -> None:
    """
    Both may be set to the same value.
    """
    assert 60.0 == read(SERVICE_NAME="web", DURATION="60").ttl
    assert 60.0 == read(SERVICE_NAME="web", DURATION="60", TTL="60").ttl
    assert (
        "TTL='61' and DURATION='60' differ: set only one, DURATION is an alias of TTL",
    ) == mistakes(SERVICE_NAME="web", DURATION="60", TTL="61")


def test_a_blank_value_is_unset() -> None:
    """
    A Nomad template that renders to nothing selects the default.
    """
    assert 86400.0 == read(SERVICE_NAME="web", TTL="  ").ttl


def test_nomads_variables_set_defaults() -> None:
    """
    In a task with an identity only the service must be set.
    """
    nomad = {
        "NOMAD_PORT_http": "21000",
        "NOMAD_ALLOC_DIR": "/alloc",
        "NOMAD_TASK_NAME": "lb",
        "NOMAD_SECRETS_DIR": "/secrets",
    }
    existing = ("/secrets/api.sock", "/secrets/nomad_token")
    found = read(existing, SERVICE_NAME="web", **nomad)

    assert 21000 == found.listen_port
    assert "/alloc/data/autoexit-nginx/lb" == found.state_dir
    assert ("unix:///secrets/api.sock", "/secrets/nomad_token") == (
        found.nomad_addr,
        found.nomad_token_file,
    )
    assert "http://127.0.0.1:4646" == read(SERVICE_NAME="web", **nomad).nomad_addr
    assert "unix:///x/y" == read(SERVICE_NAME="web", NOMAD_UNIX_ADDR="unix:///x/y").nomad_addr
    assert (
        "http://n:1"
        == read(existing, SERVICE_NAME="web", NOMAD_ADDR="http://n:1/", **nomad).nomad_addr
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
def test_loopback_is_served_only_outside_an_allocation(
    environ: dict[str, str], *, loopback: bool
) -> None:
    """
    Inside one, a registry may not list loopback, unless the allocation's address is loopback.
    """
    assert loopback is read(**environ).address_policy.loopback


def test_probable_misspellings_are_found() -> None:
    """
    Variables similar to a setting are reported, unrelated ones and Nomad's are not.
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
    ] == load.suspects(environ)


@pytest.mark.parametrize(
    "name, value, meant",
    [
        ("TLL", "1h", "TTL"),
        ("TL", "1h", "TTL"),
        ("TTTL", "never", "TTL"),
        ("LTT", "90", None),
        ("ttl", "1h", "TTL"),
        ("Ttl", "1h", "TTL"),
        ("TTY", "/dev/pts/0", None),
        ("TTY", "", None),
        ("TLS", "on", None),
        ("DURATON", "1h", "DURATION"),
        ("servicename", "web", "SERVICE_NAME"),
        ("Lame_Duck", "1s", "LAME_DUCK"),
        ("http_proxy", "http://proxy:3128", None),
    ],
)
def test_a_misspelt_setting_is_found(name: str, value: str, meant: str | None) -> None:
    """
    By case, by an underscore, and a short one by a single typing error with a value that fits.
    """
    assert ([(name, meant)] if meant else []) == load.suspects({name: value})


def test_two_exchanged_letters_of_a_short_setting_are_one_error() -> None:
    """
    Three letters are few: other errors are not.
    """
    assert is_one_typing_error("LTT", "TLT")
    assert not is_one_typing_error("LTT", "TTL")
    assert not is_one_typing_error("ABC", "TTL")


def test_a_misspelt_setting_is_named_beside_the_mistake_that_it_causes() -> None:
    """
    The required one, in lower case or without its underscore, has its line.
    """
    for name in ("SERVICENAME", "service_name"):
        assert (
            "SERVICE_NAME, ENDPOINTS or ENDPOINTS_FILE: set one of them",
            f"{name} is not a setting; did you mean SERVICE_NAME?",
        ) == mistakes(**{name: "web"})


def test_a_name_of_a_variable_cannot_forge_a_line() -> None:
    """
    A name may contain every character but `=`.
    """
    assert [("SERVICE_NAME?", "SERVICE_NAME")] == load.suspects({"SERVICE_NAME\n": "web"})


@pytest.mark.parametrize("variable", ["TTL", "DURATION"])
@pytest.mark.parametrize("value", ["24", "1.5", "59"])
def test_a_short_lifetime_without_a_unit_is_suspect(variable: str, value: str) -> None:
    """
    It means seconds, and a day or an hour was probably meant.
    """
    environ = {"SERVICE_NAME": "web", variable: value}

    ((name, hint),) = load.hints(environ, read(**environ))
    assert variable == name
    assert hint == f"{value} without a unit means {value}s; did you mean {value}h?"


@pytest.mark.parametrize("value", ["60", "5s", "0", "never", "86400"])
def test_other_lifetimes_are_not_suspect(value: str) -> None:
    """
    A unit, a minute or more, and no limit are meant.
    """
    environ = {"SERVICE_NAME": "web", "TTL": value}
    assert [] == load.hints(environ, read(**environ))

    environ = {"SERVICE_NAME": "web", "TTL": "5", "DEADLINE": "2027-01-31T18:00:00Z"}
    assert [] == load.hints(environ, read(**environ))


@pytest.mark.parametrize(
    "value, hint",
    [
        ('"a"', "remove them"),
        ("'a'", "remove them"),
        ("${NOMAD_META_tags}", "${NOMAD_META_tags} was not replaced"),
        ("a-${meta.x},b", "${meta.x} was not replaced"),
        ("a$b", ""),
        ('"', ""),
        ("${}", ""),
    ],
)
def test_quotes_and_variables_are_suspect(value: str, hint: str) -> None:
    """
    Whoever passes the environment has not removed or replaced them.
    """
    environ = {"SERVICE_NAME": "web", "SERVICE_TAGS": value}
    hints = load.hints(environ, read(**environ))

    assert (["SERVICE_TAGS"] if hint else []) == [name for name, _ in hints]
    assert all(hint in text for _, text in hints)


def test_the_reason_of_an_invalid_value_has_them_too() -> None:
    """
    In the line of the mistake.
    """
    with pytest.raises(Problem) as problem:
        read(SERVICE_NAME="web", TTL='"24h"', LISTEN_PORT="${NOMAD_PORT_web}")

    port, ttl = sorted(problem.value.lines)
    assert "; ${NOMAD_PORT_web} was not replaced: " in port
    assert "; the quotes are part of the value: remove them" in ttl


@pytest.mark.parametrize("value, is_suspect", [("2000", True), ("249", False), ("2000ms", False)])
@pytest.mark.parametrize("variable", ["CONNECT_TIMEOUT", "HEALTH_INTERVAL"])
def test_a_short_limit_in_milliseconds_is_suspect(
    variable: str,
    value: str,
    is_suspect: bool,  # noqa: FBT001
) -> None:
    """
    A number without a unit is in seconds.
    """
    environ = {"SERVICE_NAME": "web", variable: value}
    hint = f"{value} without a unit means 33m20s; did you mean {value}ms?"

    assert ([(variable, hint)] if is_suspect else []) == load.hints(environ, read(**environ))


@pytest.mark.parametrize("limit, is_suspect", [("59m", True), ("1h", False), ("never", False)])
def test_a_limit_below_the_lifetime_is_suspect(limit: str, is_suspect: bool) -> None:  # noqa: FBT001
    """
    No extension could ever be granted.
    """
    environ = {"SERVICE_NAME": "web", "TTL": "1h", "MAX_TTL": limit}
    hints = load.hints(environ, read(**environ))

    text = "59m is less than the lifetime (TTL) of 1h: `extend` can never move the deadline"
    assert ([("MAX_TTL", text)] if is_suspect else []) == hints


def test_a_service_that_would_never_be_ready_is_refused() -> None:
    """
    LAME_DUCK must be less than the lifetime, also the default one.
    """
    end = ": READY_PATH would never return 200"
    assert (f"LAME_DUCK='1h': must be less than the lifetime (TTL), which is 1h{end}",) == mistakes(
        SERVICE_NAME="web", TTL="1h", LAME_DUCK="1h"
    )
    assert (f"LAME_DUCK='2d': must be less than the lifetime (TTL), which is 1d{end}",) == mistakes(
        SERVICE_NAME="web", LAME_DUCK="2d"
    )
    read(SERVICE_NAME="web", TTL="never", LAME_DUCK="1h")
    read(SERVICE_NAME="web", TTL="1h", LAME_DUCK="1h", DEADLINE="2027-01-31T18:00:00Z")


def test_the_table_has_a_row_for_each_setting() -> None:
    """
    Documentation and validation use the same table.
    """
    rows = {name: (default, meaning) for name, default, meaning in load.table()}

    assert ("`24h`", rows["TTL"][1]) == rows["TTL"]
    assert "" == rows["SERVICE_NAME"][0]
    assert all(meaning for _, meaning in rows.values())


def test_the_runtime_directory_is_named_after_the_port() -> None:
    """
    The health check uses the same rule to find the supervisor.  In the temp folder, which all users
    share, the folder is also named after the user.
    """
    assert ["/x"] == runtime_candidates({"RUNTIME_DIR": "/x/"}, 7)
    assert ["/run/autoexit-nginx/8080", "/tmp/autoexit-nginx-7/8080"] == runtime_candidates({}, 7)
    assert "/t/autoexit-nginx-0/8080" == runtime_candidates({"TMPDIR": "/t"}, 0)[-1]
    nomad = {"NOMAD_TASK_DIR": "/local", "NOMAD_PORT_http": "9"}
    assert "/local/9" == runtime_candidates(nomad, 7)[1]


@pytest.mark.parametrize(
    "environ, port",
    [({}, "8080"), ({"LISTEN_PORT": "9000"}, "9000"), ({"NOMAD_PORT_http": "21000"}, "21000")],
)
def test_state_dir_goes_by_port_outside_of_an_allocation(
    environ: dict[str, str], port: str
) -> None:
    """
    As RUNTIME_DIR does: two instances on one machine have two deadlines.
    """
    found = read(SERVICE_NAME="web", **environ)

    assert f"/var/lib/autoexit-nginx/{port}" == found.state_dir
    assert runtime_candidates(environ, 7)[0].endswith(f"/{port}")


def test_state_dir_has_a_default_without_a_task_name() -> None:
    """
    Nomad always sets the task name; another runner that sets NOMAD_ALLOC_DIR may not.
    """
    assert (
        "/a/data/autoexit-nginx/task"
        == nomad_env.defaults({"NOMAD_ALLOC_DIR": "/a"}, bool)["STATE_DIR"]
    )


@hypothesis(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from([name for name, _, _ in load.table()]), st.text(max_size=40))
)
def test_any_environment_gives_settings_or_mistakes(environ: dict[str, str]) -> None:
    """
    No value of a variable raises another error.
    """
    with suppress(Problem):
        load.read(environ, lambda _: False)
