"""
The directives for request handling, rendered from settings.
"""

import re

import pytest

from supervisor.core.config.load import read
from supervisor.core.model import Mode, Plan, ServerOptions
from supervisor.nginx.render import RenderContext, Renderer
from supervisor.nginx.templates import read_templates
from tests.support.policy_simulation import endpoints

NEW = (1, 31, 3)
SERVING = Plan(endpoints(1, 2, 3), Mode.SERVE)


def files(rotation: int = 0, plan: Plan = SERVING, **environ: str) -> tuple[str, str]:
    """Return the rendered nginx.conf and upstream.conf."""
    chosen = read({"SERVICE_NAME": "web", **environ}, lambda _: False)
    context = RenderContext(chosen, NEW, "/run/x", 2, 1024, 512, ("0.0.0.0:80",))
    made = Renderer(context, read_templates()).render(plan, 1, rotation, {}).files
    return made["nginx.conf"].decode(), made["upstream.conf"].decode()


def servers(upstream: str) -> list[str]:
    """Return the addresses of the server lines in order."""
    return [line.split()[1] for line in upstream.splitlines() if line.startswith("    server 1")]


@pytest.mark.parametrize(
    "key, variable",
    [
        ("ip", "$remote_addr"),
        ("uri", "$request_uri"),
        ("header:X-User-ID", "$http_x_user_id"),
        ("header:authorization", "$http_authorization"),
        ("cookie:session_id", "$cookie_session_id"),
    ],
)
def test_a_hash_key_is_an_nginx_variable(key: str, variable: str) -> None:
    """
    The hash is consistent: when an endpoint leaves, only its own clients move.
    """
    _, upstream = files(LB_METHOD="hash", LB_HASH_KEY=key)

    assert f"    hash {variable} consistent;\n" in upstream


def test_only_ip_hash_keeps_the_order_of_servers() -> None:
    """
    ip_hash depends on the order: rotated, every client would move at every reload.  The other
    methods restart with the first server, so that the last ones would get no requests.
    """
    fixed = {tuple(servers(files(rotation, LB_METHOD="ip_hash")[1])) for rotation in range(4)}
    rotated = {tuple(servers(files(rotation, LB_METHOD="least_conn")[1])) for rotation in range(4)}

    assert 1 == len(fixed)
    assert 3 == len(rotated)


def weights(method: dict[str, str], *requested: int) -> list[int]:
    """Return the rendered weights for endpoints with these requested weights."""
    served = endpoints(*range(1, len(requested) + 1))
    server_options = tuple(
        (each, ServerOptions(weight)) for each, weight in zip(served, requested, strict=True)
    )
    _, upstream = files(plan=Plan(served, Mode.SERVE, server_options), **method)
    lines = [line for line in upstream.splitlines() if line.startswith("    server 1")]
    found = [re.search(r"weight=([0-9]+)", line) for line in lines]
    return [int(each[1]) if each else 1 for each in found]


def test_the_total_weight_of_a_hash_is_limited() -> None:
    """
    Nginx keeps 160 points per unit of weight in every worker, which could cost seconds and hundreds
    of megabytes: weights are scaled down, to 1 at least.  Other methods have no such cost.
    """
    by_hash = {"LB_METHOD": "hash", "LB_HASH_KEY": "ip"}

    assert [1000, 1, 500] == weights(by_hash, 1000, 1, 500)
    assert [1000] * 4 == weights(by_hash, *[1000] * 4)
    assert [400, 400, 200, 1] == weights(by_hash, *[1000] * 2, 500, 1, *[1000] * 7, 499)[:4]
    assert sum(weights(by_hash, *[1000] * 100)) <= 4000
    assert sum(weights(by_hash, 2**40, 2**40, 1)) <= 4001
    assert [1] * 5000 == weights(by_hash, *[1] * 5000)
    assert [1000] * 100 == weights({"LB_METHOD": "random"}, *[1000] * 100)


def test_sticky_cookie_is_rendered_on_request() -> None:
    """
    Scripts cannot read the cookie, and requests from other sites do not carry it.
    """
    line = "    sticky cookie autoexit path=/ httponly samesite=lax;\n"

    assert line in files(STICKY="cookie")[1]
    assert "sticky" not in files()[1]


def test_no_proxy_is_trusted_by_default() -> None:
    """
    Headers in which a client describes itself are replaced or removed.
    """
    main, _ = files()

    assert "real_ip" not in main
    assert "    proxy_set_header X-Forwarded-For $remote_addr;\n" in main
    assert '    proxy_set_header Forwarded "";\n' in main
    assert '    proxy_set_header X-Forwarded-Prefix "";\n' in main
    assert "    proxy_set_header X-Request-ID $request_id;\n" in main


def test_trusted_proxies_are_in_both_tables() -> None:
    """
    The table for the client address and the one for the other headers must not differ.
    """
    main, _ = files(TRUSTED_PROXIES="10.0.0.0/8,fd00::/8")

    for network in ("10.0.0.0/8", "fd00::/8"):
        assert f"    set_real_ip_from {network};\n" in main
        assert f"        {network} 1;\n" in main
    assert "    proxy_set_header X-Request-ID $proxied_request_id;\n" in main


def test_the_log_has_the_request_id_of_the_replica() -> None:
    """
    A request has the same ID everywhere, even one from a trusted proxy.
    """
    alone, _ = files(ACCESS_LOG="json")
    behind, _ = files(ACCESS_LOG="json", TRUSTED_PROXIES="::1")

    assert '"request_id":"$request_id"' in alone
    assert '"request_id":"$proxied_request_id"' in behind
    assert "access_log '/run/x/access.log' autoexit_json buffer=32k flush=1s;" in alone


def test_without_an_access_log_there_is_no_file() -> None:
    """
    There is no `access_log off` either, which would disable an operator's own log, nor nginx's
    default log, because there is a log of refused clients.
    """
    main, _ = files()

    assert "access.log" not in main
    assert "access_log off" not in main
    assert "    access_log /proc/self/fd/2 autoexit_refused if=$refused_protocol;\n" in main


def test_request_timeout_also_limits_old_workers() -> None:
    """
    An old worker stays for REQUEST_TIMEOUT, or a reload would cut its requests.
    """
    main, _ = files(REQUEST_TIMEOUT="90s", CONNECT_TIMEOUT="250ms")

    assert "\nworker_shutdown_timeout 90000ms;\n" in main
    assert "    proxy_read_timeout 90000ms;\n" in main
    assert "    proxy_send_timeout 90000ms;\n" in main
    assert "    proxy_connect_timeout 250ms;\n" in main


def test_a_timeout_is_never_zero() -> None:
    """
    Nginx takes 0 as no timeout.
    """
    assert "proxy_connect_timeout 1ms;" in files(CONNECT_TIMEOUT="0.1ms")[0]


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
def test_the_host_is_not_looked_up_in_a_map(trusted: str) -> None:
    """
    With $request_port, no header of a request reads the map of the host: each look-up costs time.
    """
    main, _ = files(**({"TRUSTED_PROXIES": trusted} if trusted else {}))
    directives = [line.strip() for line in main.splitlines() if not line.strip().startswith("#")]

    assert "proxy_set_header Host $host$is_request_port$request_port;" in directives
    assert [each for each in directives if "$proxied_host" in each] == ["map $host $proxied_host {"]


def test_the_idle_clock_counts_all_requests_but_health_checks() -> None:
    """
    One empty line for each request, under a condition that excludes READY_PATH alone, in its case;
    READY_PATH then keeps no connection open.  Without IDLE_TIMEOUT there is nothing of it.
    """
    main, upstream = files(IDLE_TIMEOUT="1h", READY_PATH="/up.v1")
    assert "access_log '/run/x/use.log' autoexit_use buffer=4k flush=1s if=$is_use;" in main
    assert "log_format autoexit_use '';" in main
    assert "    map $upstream_addr $is_not_ready_path {" in main
    assert "        /up.v1 $is_not_ready_path;" in main
    assert "location = /up.v1 {" in upstream
    location = upstream.partition("location = /up.v1 {")[2].partition("return 200")[0]
    assert "keepalive_timeout 0;" in location

    without_path, _ = files(IDLE_TIMEOUT="1h", READY_PATH="off")
    assert "is_not_ready_path" not in without_path
    assert "use.log" in without_path
    assert "use.log" not in "".join(files())
