"""
From settings to the directives that say how requests travel.
"""

import re

import pytest

from supervisor.core.config.load import read
from supervisor.core.model import Mode, Plan, ServerOptions
from supervisor.nginx.render import RenderContext, Renderer
from supervisor.nginx.templates import read_templates
from tests.support.play import endpoints

NEW = (1, 31, 3)
SERVING = Plan(endpoints(1, 2, 3), Mode.SERVE)


def files(rotation: int = 0, plan: Plan = SERVING, **environ: str) -> tuple[str, str]:
    """Render, and return nginx.conf and upstream.conf."""
    chosen = read({"SERVICE_NAME": "web", **environ}, lambda _: False)
    frame = RenderContext(chosen, NEW, "/run/x", 2, 1024, 512, ("0.0.0.0:80",))
    made = Renderer(frame, read_templates()).render(plan, 1, rotation, {}).files
    return made["nginx.conf"].decode(), made["upstream.conf"].decode()


def servers(upstream: str) -> list[str]:
    """Return the addresses of the server lines, in their order."""
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
def test_a_key_is_a_variable_of_nginx(key: str, variable: str) -> None:
    """
    Consistent, so that an endpoint that leaves takes only its own clients along.
    """
    _, upstream = files(LB_METHOD="hash", LB_HASH_KEY=key)

    assert f"    hash {variable} consistent;\n" in upstream


def test_only_where_order_is_memory_it_stays() -> None:
    """
    ip_hash counts servers from the first: turned, every client would move at every reload.  The
    other methods start from scratch, and the last servers would starve.
    """
    stays = {tuple(servers(files(rotation, LB_METHOD="ip_hash")[1])) for rotation in range(4)}
    turns = {tuple(servers(files(rotation, LB_METHOD="least_conn")[1])) for rotation in range(4)}

    assert 1 == len(stays)
    assert 3 == len(turns)


def weights(method: dict[str, str], *asked: int) -> list[int]:
    """Return the weights that stand in the file, for endpoints that ask for these."""
    served = endpoints(*range(1, len(asked) + 1))
    server_options = tuple(
        (each, ServerOptions(weight)) for each, weight in zip(served, asked, strict=True)
    )
    _, upstream = files(plan=Plan(served, Mode.SERVE, server_options), **method)
    lines = [line for line in upstream.splitlines() if line.startswith("    server 1")]
    found = [re.search(r"weight=([0-9]+)", line) for line in lines]
    return [int(each[1]) if each else 1 for each in found]


def test_weights_of_a_hash_have_a_bound_together() -> None:
    """
    Nginx keeps 160 points for each unit, in every worker: in proportion they become smaller, where
    they would cost seconds and hundreds of megabytes, and never nothing.  Other methods only count.
    """
    by_hash = {"LB_METHOD": "hash", "LB_HASH_KEY": "ip"}

    assert [1000, 1, 500] == weights(by_hash, 1000, 1, 500)
    assert [1000] * 4 == weights(by_hash, *[1000] * 4)
    assert [400, 400, 200, 1] == weights(by_hash, *[1000] * 2, 500, 1, *[1000] * 7, 499)[:4]
    assert sum(weights(by_hash, *[1000] * 100)) <= 4000
    assert sum(weights(by_hash, 2**40, 2**40, 1)) <= 4001
    assert [1] * 5000 == weights(by_hash, *[1] * 5000)
    assert [1000] * 100 == weights({"LB_METHOD": "random"}, *[1000] * 100)


def test_a_cookie_names_its_endpoint_where_it_is_wanted() -> None:
    """
    No script can read it, and another site's request does not bring it.
    """
    line = "    sticky cookie autoexit path=/ httponly samesite=lax;\n"

    assert line in files(STICKY="cookie")[1]
    assert "sticky" not in files()[1]


def test_nobody_is_trusted_unless_named() -> None:
    """
    Then what a client says of itself is written over or taken away.
    """
    main, _ = files()

    assert "real_ip" not in main
    assert "    proxy_set_header X-Forwarded-For $remote_addr;\n" in main
    assert '    proxy_set_header Forwarded "";\n' in main
    assert '    proxy_set_header X-Forwarded-Prefix "";\n' in main
    assert "    proxy_set_header X-Request-ID $request_id;\n" in main


def test_who_is_trusted_stands_in_both_tables() -> None:
    """
    The table that finds the client and the one that believes the rest must not differ.
    """
    main, _ = files(TRUSTED_PROXIES="10.0.0.0/8,fd00::/8")

    for network in ("10.0.0.0/8", "fd00::/8"):
        assert f"    set_real_ip_from {network};\n" in main
        assert f"        {network} 1;\n" in main
    assert "    proxy_set_header X-Request-ID $proxied_request_id;\n" in main


def test_the_log_names_the_request_as_the_replica_knows_it() -> None:
    """
    One ID from end to end, whoever gave it.
    """
    alone, _ = files(ACCESS_LOG="json")
    behind, _ = files(ACCESS_LOG="json", TRUSTED_PROXIES="::1")

    assert '"request_id":"$request_id"' in alone
    assert '"request_id":"$proxied_request_id"' in behind
    assert "access_log '/run/x/access.log' autoexit_json buffer=32k flush=1s;" in alone


def test_without_a_log_there_is_no_file() -> None:
    """
    And no `off` either, which would silence an operator's own.
    """
    main, _ = files()

    assert "access.log" not in main
    assert "access_log off" not in main
    assert "    access_log /dev/null combined if=0;\n" in main


def test_a_request_may_be_as_long_as_it_may_be_silent() -> None:
    """
    And an old worker stays for as long, or a reload would cut it.
    """
    main, _ = files(REQUEST_TIMEOUT="90s", CONNECT_TIMEOUT="250ms")

    assert "\nworker_shutdown_timeout 90000ms;\n" in main
    assert "    proxy_read_timeout 90000ms;\n" in main
    assert "    proxy_send_timeout 90000ms;\n" in main
    assert "    proxy_connect_timeout 250ms;\n" in main


def test_a_timeout_is_never_none() -> None:
    """
    Nginx would read 0 as none at all.
    """
    assert "proxy_connect_timeout 1ms;" in files(CONNECT_TIMEOUT="0.1ms")[0]
