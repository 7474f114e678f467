import tempfile
from ipaddress import ip_network
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from supervisor.core.config.load import read
from supervisor.core.model import Endpoint, Mode, Plan, ServerOptions
from supervisor.nginx.process import find_binary
from supervisor.nginx.render import unsupported
from tests.support.conf_allowlist import unexpected_directives
from tests.support.conf_lint import FORBIDDEN, complaints, directives
from tests.support.nginxes import BOTH
from tests.support.rendered import check_error, rendered, version_of, written
from tests.support.waiting import free_port

METHODS = ["round_robin", "least_conn", "random", "ip_hash", "hash"]
KEYS = ["ip", "uri", "header:X-User", "header:a", "cookie:session_id", "cookie:A1"]
WITH_BACKUP = {"round_robin", "least_conn"}


def balancings(method: str) -> list[dict[str, str]]:
    """
    Return the settings that ask for a method, with each key where it needs one.
    """
    keys = [{"LB_HASH_KEY": key} for key in KEYS] if method == "hash" else [{}]
    return [{"LB_METHOD": method, **key} for key in keys]


def spread(drawn: dict[str, Any]) -> dict[str, str]:
    """
    Put the settings that only go together beside the others.
    """
    return {**drawn.pop("BALANCING", {}), **drawn}


SPANS = st.sampled_from(["1ms", "250ms", "2s", "90", "1.5h", "1h30m", "30d"])
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
        "BALANCING": st.sampled_from([each for method in METHODS for each in balancings(method)]),
        "STICKY": st.sampled_from(["cookie", "off"]),
        "TRUSTED_PROXIES": NETWORKS,
        "ACCESS_LOG": st.sampled_from(["json", "off"]),
        "MAX_BODY_SIZE": st.sampled_from(["0", "1", "512k", "20m", "2g"]),
        "CONNECT_TIMEOUT": SPANS,
        "REQUEST_TIMEOUT": SPANS,
        "READY_PATH": st.sampled_from(["off", "/-/ready", "/x/y", "/~a.b_c-d"]),
        "SUNSET_HEADER": st.sampled_from(["true", "false"]),
        "ADMIN_PORT": st.sampled_from(["off", "9"]),
    },
).map(spread)
SHARES = st.builds(
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
    Draw any plan: the policy would not make each of them.
    """
    asked = draw(st.dictionaries(ENDPOINTS, st.none() | SHARES, max_size=8))
    modes = [Mode.SERVE, Mode.DRAINING] if asked else [each for each in Mode if each != Mode.SERVE]
    server_options = tuple((each, share) for each, share in sorted(asked.items()) if share)
    return Plan(tuple(sorted(asked)), draw(st.sampled_from(modes)), server_options, draw(SUNSETS))


TWO = (Endpoint("10.0.0.1", 1), Endpoint("fd00::1", 1))
VERSIONS = st.sampled_from([(1, 18, 0), (1, 22, 1), (1, 27, 4), (1, 31, 3)])


@hypothesis(max_examples=60, deadline=None)
@given(SETTINGS, VERSIONS, plans(), st.booleans())
def test_F12_no_directive_is_used_that_must_not_be(
    environ: dict[str, str],
    version: tuple[int, ...],
    plan: Plan,
    stub_status: bool,  # noqa: FBT001
) -> None:
    """
    Whatever the settings, the nginx and the endpoints: no directive that was the way into nginx,
    no regular expression, no retry of what is not safe to send twice, no file but the known ones.
    """
    with tempfile.TemporaryDirectory() as name:
        files = rendered(environ, version, plan, stub_status=stub_status).files
        found = directives(files, Path(name))
    assert [] == complaints(found)
    assert [] == unexpected_directives(found, "/run/ax")
    assert {"error", "timeout"} == {
        word
        for each in found
        if each.name == "proxy_next_upstream" and each.around == ("http",)
        for word in each.words
    }
    assert ("off",) in [each.words for each in found if each.name == "server_tokens"]


@hypothesis(max_examples=60, deadline=None)
@given(plans(), st.sampled_from(METHODS), st.integers(0, 20))
def test_F12_each_endpoint_is_one_server_line_and_nothing_else(
    plan: Plan, method: str, turn: int
) -> None:
    """
    Read back, the upstream holds each endpoint once, in an order that only rotates, and no more;
    with its weight where it has one, and a backup only where the method knows any and not all are.
    """
    with tempfile.TemporaryDirectory() as name:
        bundle = rendered(balancings(method)[0], (1, 31, 3), plan, rotation=turn)
        found = directives(bundle.files, Path(name))
    inside = [each for each in found if each.around[-1:] == ("upstream service",)]
    served = [each.words for each in inside if each.name == "server"]
    turns = plan.endpoints and method != "ip_hash"  # whose clients are told apart by that order
    start = turn % len(plan.endpoints) if turns else 0
    order = [*plan.endpoints[start:], *plan.endpoints[:start]]
    assert [str(each) for each in order] == [words[0] for words in served]
    server_options = dict(plan.server_options)
    all_backups = all(each in server_options and server_options[each].backup for each in order)
    for endpoint, words in zip(order, served, strict=True):
        share = server_options.get(endpoint, ServerOptions())
        weight = {f"weight={min(share.weight, 65535)}"} if share.weight > 1 else set()
        if method == "hash" and sum(share.weight for share in server_options.values()) > 3000:
            weight = {word for word in words if word.startswith("weight=")}  # in proportion
        marked = share.backup and method in WITH_BACKUP and not all_backups
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
def test_F12_the_lint_sees_what_it_shall(bad: str, tmp_path: Path) -> None:
    """
    Each forbidden thing is found where it is: a lint that sees nothing would pass as well.
    """
    import crossplane  # noqa: PLC0415 - only here is a file read without its rules

    from tests.support.conf_lint import _walk  # noqa: PLC0415 - the same

    (tmp_path / "nginx.conf").write_text(f"http {{ {bad} }}")
    payload = crossplane.parse(
        str(tmp_path / "nginx.conf"), check_args=False, check_ctx=False, single=True
    )
    assert complaints(list(_walk(payload["config"][0]["parsed"], ())))


@pytest.mark.parametrize("nginx", BOTH)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("endpoints", [0, 1, 300])
def test_F12_what_is_rendered_is_accepted(
    tmp_path: Path, nginx: str, method: str, endpoints: int
) -> None:
    """
    Real nginx, old and current, accepts what is rendered, without a warning.
    """
    served = tuple(Endpoint(f"10.0.{n // 250}.{n % 250 + 1}", 80) for n in range(endpoints))
    plan = Plan(served, Mode.SERVE if served else Mode.STARTING, sunset=1_800_000_000)
    ports = {"LISTEN_PORT": str(free_port()), "ADMIN_PORT": str(free_port())}
    environ = {**balancings(method)[0], **ports}
    bundle = rendered(
        environ,
        version_of(nginx),
        plan,
        str(tmp_path),
        stub_status=find_binary(nginx).has_stub_status,
    )
    assert not check_error(nginx, written(bundle.files, tmp_path))


@pytest.mark.parametrize("nginx", BOTH)
@hypothesis(max_examples=60, deadline=None)
@given(environ=SETTINGS, plan=plans())
def test_F12_whatever_the_settings_say_nginx_accepts_it(
    nginx: str, environ: dict[str, str], plan: Plan
) -> None:
    """
    Any settings with any endpoints, weights and states: real nginx, old and current, reads what is
    rendered without a warning, and so does crossplane, which finds whitelisted directives only.

    What this nginx cannot do is refused before anything is rendered.
    """
    environ = {**environ, "LISTEN_PORT": str(free_port())}
    version = version_of(nginx)
    if unsupported(read(environ, lambda _: False), version):
        assert "cookie" == environ["STICKY"]
        assert version < (1, 29, 6)
        environ["STICKY"] = "off"
    with tempfile.TemporaryDirectory() as name:
        bundle = rendered(environ, version, plan, name)
        assert not check_error(nginx, written(bundle.files, Path(name)))
        found = directives(bundle.files, Path(name))
    assert [] == complaints(found)
    assert [] == unexpected_directives(found, name)


@pytest.mark.parametrize("nginx", BOTH)
def test_F12_a_thousand_proxies_are_accepted(tmp_path: Path, nginx: str) -> None:
    """
    The list of a content network, with all of both families beside it and each twice.
    """
    networks = [f"10.{n // 250}.{n % 250}.0/24" for n in range(1000)]
    networks += ["0.0.0.0/0", "::/0", "2001:db8::/32", "2001:db8::/33"]
    environ = {"TRUSTED_PROXIES": ",".join(networks * 2), "LISTEN_PORT": str(free_port())}
    bundle = rendered(environ, version_of(nginx), Plan(TWO, Mode.SERVE), str(tmp_path))
    assert not check_error(nginx, written(bundle.files, tmp_path))
    found = directives(bundle.files, tmp_path)
    proxies = [
        each for each in found if (each.name, each.around) == ("set_real_ip_from", ("http",))
    ]
    assert 1004 == len(proxies)
    assert [] == unexpected_directives(found, str(tmp_path))


@pytest.mark.parametrize("nginx", BOTH)
@hypothesis(max_examples=40, deadline=None)
@given(plan=plans(), method=st.sampled_from(METHODS))
@example(
    plan=Plan(TWO, Mode.SERVE, tuple((each, ServerOptions(3, backup=True)) for each in TWO)),
    method="",
)
@example(plan=Plan(TWO, Mode.SERVE, ((TWO[0], ServerOptions(3, backup=True)),)), method="")
@example(plan=Plan(TWO, Mode.SERVE, ((TWO[1], ServerOptions(2**40)),)), method="")
def test_E13_whatever_shares_are_asked_for_nginx_accepts_them(
    nginx: str, plan: Plan, method: str
) -> None:
    """
    Any weights, backups and drains, with each method, sticky or not: real nginx, old and current,
    never refuses.
    """
    stickies = ["off", "cookie"] if version_of(nginx) >= (1, 29, 6) else ["off"]
    for each, sticky in product([method] if method else METHODS, stickies):
        with tempfile.TemporaryDirectory() as name:
            port = {"LISTEN_PORT": str(free_port()), "STICKY": sticky}
            bundle = rendered({**balancings(each)[0], **port}, version_of(nginx), plan, name)
            assert not check_error(nginx, written(bundle.files, Path(name)))


@pytest.mark.parametrize("nginx", BOTH)
@pytest.mark.parametrize("odd", ["it's", 'a "b"', "a;b {c} $d #e", "a\\b\\n", "a\nb", "\udcff"])
def test_a_folder_may_have_any_name(tmp_path: Path, nginx: str, odd: str) -> None:
    """
    A folder that Nomad or the system chose is no text of the configuration's grammar.
    """
    folder = tmp_path / odd
    folder.mkdir()
    plan = Plan((), Mode.STARTING)
    environ = {"LISTEN_PORT": str(free_port()), "ADMIN_PORT": str(free_port())}
    bundle = rendered(environ, version_of(nginx), plan, str(folder))
    assert not check_error(nginx, written(bundle.files, folder))
    assert (folder / "temp" / "body").is_dir()
