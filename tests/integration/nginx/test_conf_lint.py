import tempfile
from ipaddress import ip_network
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from supervisor.core.balancing_methods import METHODS
from supervisor.core.config.load import read
from supervisor.core.model import Endpoint, Mode, Plan, ServerOptions
from supervisor.nginx.render import unsupported
from tests.support.conf_allowlist import unexpected_directives
from tests.support.conf_lint import FORBIDDEN, complaints, directives
from tests.support.nginxes import BOTH
from tests.support.rendered import (
    check_error,
    has_stub_status,
    is_musl,
    rendered,
    version_of,
    written,
)
from tests.support.waiting import free_port

KEYS = ["ip", "uri", "header:X-User", "header:a", "cookie:session_id", "cookie:A1"]
WITH_BACKUP = {"round_robin", "least_conn"}


def method_settings(method: str) -> list[dict[str, str]]:
    """
    Return the settings of a method, with each hash key if it needs one.
    """
    keys = [{"LB_HASH_KEY": key} for key in KEYS] if method == "hash" else [{}]
    return [{"LB_METHOD": method, **key} for key in keys]


def flattened(drawn: dict[str, Any]) -> dict[str, str]:
    """
    Merge the settings that depend on each other into the others.
    """
    return {**drawn.pop("BALANCING", {}), **drawn}


DURATIONS = st.sampled_from(["1ms", "250ms", "2s", "90", "1.5h", "1h30m", "30d"])
NETWORKS = st.lists(
    st.ip_addresses(network="10.0.0.0/8").map(str)
    | st.ip_addresses(v=6).map(lambda address: f"{address.compressed}/128")
    | st.builds(lambda bits: str(ip_network(f"10.0.0.0/{bits}")), st.integers(8, 32))
    | st.sampled_from(
        ["0.0.0.0/0", "::/0", "10.0.0.0/255.0.0.0", "::ffff:0:0/96", "::1", "::1/128"]
    ),
    max_size=12,
).map(",".join)
SETTINGS = st.fixed_dictionaries(
    {"ENDPOINTS": st.just("10.0.0.1:1")},
    optional={
        "BALANCING": st.sampled_from(
            [each for method in METHODS for each in method_settings(method)]
        ),
        "STICKY": st.sampled_from(["cookie", "off"]),
        "TRUSTED_PROXIES": NETWORKS,
        "UNDERSCORE_HEADERS": st.sampled_from(["true", "false"]),
        "RETRY_POST": st.sampled_from(["true", "false"]),
        "ACCESS_LOG": st.sampled_from(["json", "off"]),
        "IDLE_TIMEOUT": st.sampled_from(["2h", "off"]),
        "MAX_BODY_SIZE": st.sampled_from(["0", "1", "512k", "20m", "2g"]),
        "CONNECT_TIMEOUT": DURATIONS,
        "REQUEST_TIMEOUT": DURATIONS,
        "READY_PATH": st.sampled_from(["off", "/-/ready", "/x/y", "/~a.b_c-d"]),
        "SUNSET_HEADER": st.sampled_from(["true", "false"]),
        "ADMIN_PORT": st.sampled_from(["off", "9"]),
    },
).map(flattened)
OPTIONS = st.builds(
    ServerOptions,
    st.integers(1, 300) | st.sampled_from([-1, 0, 2**40]),
    st.booleans(),
    st.booleans(),
)
ENDPOINTS = st.builds(
    lambda host, port: Endpoint(str(host), port), st.ip_addresses(), st.integers(1, 65535)
)
SUNSETS = st.none() | st.integers(1, 253402300799)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """
    Draw a plan, also one that the policy would not make.
    """
    drawn = draw(st.dictionaries(ENDPOINTS, st.none() | OPTIONS, max_size=8))
    modes = [Mode.SERVE, Mode.DRAINING] if drawn else [each for each in Mode if each != Mode.SERVE]
    server_options = tuple((each, options) for each, options in sorted(drawn.items()) if options)
    return Plan(tuple(sorted(drawn)), draw(st.sampled_from(modes)), server_options, draw(SUNSETS))


TWO = (Endpoint("10.0.0.1", 1), Endpoint("fd00::1", 1))
VERSIONS = st.sampled_from([(1, 18, 0), (1, 22, 1), (1, 27, 4), (1, 31, 3)])


@hypothesis(max_examples=60, deadline=None)
@given(SETTINGS, VERSIONS, plans(), st.booleans())
def test_F12_no_forbidden_directive_is_used(
    environ: dict[str, str],
    version: tuple[int, ...],
    plan: Plan,
    stub_status: bool,  # noqa: FBT001
) -> None:
    """
    With any settings, nginx version and endpoints there is no directive known as an attack vector,
    no regular expression, and no unknown file.  Non-idempotent requests are retried with RETRY_POST
    only, and once.
    """
    with tempfile.TemporaryDirectory() as name:
        files = rendered(environ, version, plan, stub_status=stub_status).files
        found = directives(files, Path(name))
    assert [] == complaints(found)
    assert [] == unexpected_directives(found, "/run/ax")
    retried = {"non_idempotent"} if environ.get("RETRY_POST") == "true" else set()
    assert ("2",) in [each.words for each in found if each.name == "proxy_next_upstream_tries"]
    assert {"error", "timeout"} | retried == {
        word
        for each in found
        if each.name == "proxy_next_upstream" and each.around == ("http",)
        for word in each.words
    }
    assert ("off",) in [each.words for each in found if each.name == "server_tokens"]


@hypothesis(max_examples=60, deadline=None)
@given(plans(), st.sampled_from(sorted(METHODS)), st.integers(0, 20))
def test_F12_each_endpoint_is_one_server_line_and_nothing_else(
    plan: Plan, method: str, rotation: int
) -> None:
    """
    The parsed upstream holds each endpoint once, in a rotated order, and nothing else.  It has a
    weight if set, and `backup` only if the method supports it and not all endpoints are backups.
    """
    with tempfile.TemporaryDirectory() as name:
        config = rendered(method_settings(method)[0], (1, 31, 3), plan, rotation=rotation)
        found = directives(config.files, Path(name))
    inside = [each for each in found if each.around[-1:] == ("upstream service",)]
    served = [each.words for each in inside if each.name == "server"]
    rotates = plan.endpoints and method != "ip_hash"  # which assigns clients by the order
    start = rotation % len(plan.endpoints) if rotates else 0
    order = [*plan.endpoints[start:], *plan.endpoints[:start]]
    assert [str(each) for each in order] == [words[0] for words in served]
    server_options = dict(plan.server_options)
    all_backups = all(each in server_options and server_options[each].backup for each in order)
    for endpoint, words in zip(order, served, strict=True):
        options = server_options.get(endpoint, ServerOptions())
        weight = {f"weight={min(options.weight, 65535)}"} if options.weight > 1 else set()
        if method == "hash" and sum(options.weight for options in server_options.values()) > 3000:
            weight = {word for word in words if word.startswith("weight=")}  # scaled down
        marked = options.backup and method in WITH_BACKUP and not all_backups
        assert {"max_fails=0", *weight, *(["backup"] if marked else [])} == set(words[1:])


@pytest.mark.parametrize(
    "bad",
    [
        *(f"{name} x;" for name in FORBIDDEN if not name.endswith("_") and name != "if"),
        "js_import x;",
        "listen 1 ssl;",
        "listen 1 reuseport;",
        "server a resolve;",
        "proxy_next_upstream error non_idempotent;",
        "proxy_next_upstream error timeout http_500 non_idempotent;",
        "location ~ ^/(.*)$ { }",
        "include /etc/passwd;",
        "map $a $b { ~x y; }",
        "map $http_accept $reader { ~*text/xml person; }",
        "map $http_accept $reader { ~*text/html other; }",
        "map $http_user_agent $reader { ~*text/html person; }",
        "add_header X backup;",
        *(
            f"upstream service {{ server {words}; }}"
            for words in (
                "10.0.0.1:1",
                "10.0.0.1:1 weight=0 max_fails=0",
                "10.0.0.1:1 weight=1 max_fails=0",
                "10.0.0.1:1 weight=-2 max_fails=0",
                "10.0.0.1:1 max_fails=0 weight=2",
                "10.0.0.1:1 max_fails=0 backup down",
                "10.0.0.1:1 max_fails=1",
                "10.0.0.1:0 max_fails=0",
                "010.0.0.1:1 max_fails=0",
                "fd00::1:1 max_fails=0",
                "localhost:1 max_fails=0",
                "unix:/x max_fails=0",
            )
        ),
        "return 200 $1;",
    ],
)
def test_F12_the_lint_finds_each_violation(bad: str, tmp_path: Path) -> None:
    """
    A lint that finds nothing would pass all other tests.
    """
    import crossplane  # noqa: PLC0415 - only used here, to parse without its own checks

    from tests.support.conf_lint import _walk  # noqa: PLC0415 - only used here

    (tmp_path / "nginx.conf").write_text(f"http {{ {bad} }}")
    payload = crossplane.parse(
        str(tmp_path / "nginx.conf"), check_args=False, check_ctx=False, single=True
    )
    assert complaints(list(_walk(payload["config"][0]["parsed"], ())))


@pytest.mark.parametrize("nginx", BOTH)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("endpoints", [0, 1, 300])
def test_F12_nginx_accepts_the_rendered_files(
    tmp_path: Path, nginx: str, method: str, endpoints: int
) -> None:
    """
    An old and a current nginx accept them without a warning.
    """
    served = tuple(Endpoint(f"10.0.{n // 250}.{n % 250 + 1}", 80) for n in range(endpoints))
    plan = Plan(served, Mode.SERVE if served else Mode.STARTING, sunset=1_800_000_000)
    ports = {"LISTEN_PORT": str(free_port()), "ADMIN_PORT": str(free_port())}
    environ = {**method_settings(method)[0], **ports}
    config = rendered(
        environ,
        version_of(nginx),
        plan,
        str(tmp_path),
        stub_status=has_stub_status(nginx),
        is_musl=is_musl(nginx),
    )
    assert not check_error(nginx, written(config.files, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("nginx", BOTH)
@hypothesis(max_examples=60, deadline=None)
@given(environ=SETTINGS, plan=plans())
def test_F12_nginx_accepts_any_settings(nginx: str, environ: dict[str, str], plan: Plan) -> None:
    """
    With any endpoints, weights and states an old and a current nginx read the rendered files
    without a warning, and crossplane finds only whitelisted directives.

    A setting that this nginx does not support is refused before rendering.
    """
    environ = {**environ, "LISTEN_PORT": str(free_port())}
    version = version_of(nginx)
    if unsupported(read(environ, lambda _: False), version):
        assert "cookie" == environ["STICKY"]
        assert version < (1, 29, 6)
        environ["STICKY"] = "off"
    with tempfile.TemporaryDirectory() as name:
        config = rendered(environ, version, plan, name, is_musl=is_musl(nginx))
        assert not check_error(nginx, written(config.files, Path(name)))
        found = directives(config.files, Path(name))
    assert [] == complaints(found)
    assert [] == unexpected_directives(found, name)


@pytest.mark.parametrize("nginx", BOTH)
def test_F12_a_thousand_proxies_are_accepted(tmp_path: Path, nginx: str) -> None:
    """
    The list is that of a content delivery network, with all addresses of both families, each twice.
    """
    networks = [f"10.{n // 250}.{n % 250}.0/24" for n in range(1000)]
    networks += ["0.0.0.0/0", "::/0", "2001:db8::/32", "2001:db8::/33"]
    environ = {"TRUSTED_PROXIES": ",".join(networks * 2), "LISTEN_PORT": str(free_port())}
    config = rendered(environ, version_of(nginx), Plan(TWO, Mode.SERVE), str(tmp_path))
    assert not check_error(nginx, written(config.files, tmp_path))
    found = directives(config.files, tmp_path)
    proxies = [
        each for each in found if (each.name, each.around) == ("set_real_ip_from", ("http",))
    ]
    assert 1004 == len(proxies)
    assert [] == unexpected_directives(found, str(tmp_path))


@pytest.mark.parametrize("nginx", BOTH)
@hypothesis(max_examples=40, deadline=None)
@given(plan=plans(), method=st.sampled_from(sorted(METHODS)))
@example(
    plan=Plan(TWO, Mode.SERVE, tuple((each, ServerOptions(3, backup=True)) for each in TWO)),
    method="",
)
@example(plan=Plan(TWO, Mode.SERVE, ((TWO[0], ServerOptions(3, backup=True)),)), method="")
@example(plan=Plan(TWO, Mode.SERVE, ((TWO[1], ServerOptions(2**40)),)), method="")
def test_E13_nginx_accepts_any_server_options(nginx: str, plan: Plan, method: str) -> None:
    """
    An old and a current nginx accept any weights, backups and drains with each method, sticky or
    not.
    """
    stickies = ["off", "cookie"] if version_of(nginx) >= (1, 29, 6) else ["off"]
    for each, sticky in product([method] if method else METHODS, stickies):
        with tempfile.TemporaryDirectory() as name:
            port = {"LISTEN_PORT": str(free_port()), "STICKY": sticky}
            config = rendered({**method_settings(each)[0], **port}, version_of(nginx), plan, name)
            assert not check_error(nginx, written(config.files, Path(name)))


@pytest.mark.parametrize("nginx", BOTH)
@pytest.mark.parametrize(
    "folder_name", ["it's", 'a "b"', "a;b {c} $d #e", "a\\b\\n", "a\nb", "\udcff"]
)
def test_a_folder_may_have_any_name(tmp_path: Path, nginx: str, folder_name: str) -> None:
    """
    A folder that Nomad or the system chose may contain characters special to nginx's configuration.
    """
    folder = tmp_path / folder_name
    folder.mkdir()
    plan = Plan((), Mode.STARTING)
    environ = {"LISTEN_PORT": str(free_port()), "ADMIN_PORT": str(free_port())}
    config = rendered(environ, version_of(nginx), plan, str(folder))
    assert not check_error(nginx, written(config.files, folder))
    assert (folder / "temp" / "body").is_dir()
