"""
The next step for what nginx writes to its error log.
"""

import pytest

from supervisor.core.config import load
from supervisor.core.nginx_advice import next_step


def advice(text: str, **environ: str) -> str:
    """Return the next step with these settings."""
    return next_step(text, load.read({"SERVICE_NAME": "web", **environ}, lambda _: False))


@pytest.mark.parametrize(
    "text, step",
    [
        ("bind() to 0.0.0.0:8080 failed (98: Address already in use)", "another LISTEN_PORT"),
        ("bind() to 0.0.0.0:80 failed (13: Permission denied)", "LISTEN_PORT=8080"),
        ("bind() to 10.0.0.1:80 failed (99: Cannot assign requested address)", "LISTEN_ADDRESS"),
        ("*7 512 worker_connections are not enough while connecting to upstream", "nofile=65536"),
        ("accept4() failed (24: Too many open files)", "nofile=65536"),
        ("accept4() failed (24: No file descriptors available)", "nofile=65536"),
        ("cannot start /usr/sbin/nginx: Resource temporarily unavailable", "--pids-limit"),
        ("fork() failed while spawning (11: Resource temporarily unavailable)", "--pids-limit"),
        ("worker process 7 exited on signal 9", "MAX_DRAINING"),
        ("*1 upstream sent no valid HTTP/1.0 header while reading", "HEALTH_PATH"),
        (
            "*1 upstream prematurely closed connection while reading response header from upstream",
            "its own log",
        ),
        ("*1 upstream sent too big header while reading response header", "Larger headers"),
        ("*1 client intended to send too large body: 30 bytes", "client_max_body_size"),
        (
            "*1 upstream timed out (110: Connection timed out) while reading response header",
            "REQUEST_TIMEOUT",
        ),
        (
            "*1 upstream timed out (110: Connection timed out) while connecting to upstream",
            "CONNECT_TIMEOUT",
        ),
    ],
)
def test_a_known_line_has_a_next_step(text: str, step: str) -> None:
    """
    It names the setting or the limit.
    """
    assert step in advice(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*1 connect() failed (111: Connection refused) while connecting to upstream",
        "worker process 7 exited on signal 11",
        "*1 upstream prematurely closed connection while reading upstream",
    ],
)
def test_another_line_has_none(text: str) -> None:
    """
    Advice that is wrong would be ignored when it is right.
    """
    assert "" == advice(text)


def test_a_limit_that_is_set_is_named() -> None:
    """
    A body above MAX_BODY_SIZE is refused by that.
    """
    text = "*1 client intended to send too large body: 3000 bytes, client: 127.0.0.1"

    assert "set a larger MAX_BODY_SIZE" == advice(text, MAX_BODY_SIZE="1k")


def test_the_operators_own_file_is_named_not_its_copy() -> None:
    """
    Nginx reads a copy in the folder of the generation.
    """
    text = 'unexpected "}" in /run/autoexit-nginx/8080/conf-12/conf.d/mine.conf:3'
    step = "correct line 3 of /etc/nginx/conf.d/mine.conf, then test it with `autoexit-nginx check`"

    assert step == advice(text)
    assert "line 3 of /srv/conf.d/mine.conf" in advice(text, OPERATOR_DIR="/srv/")


def test_the_location_of_the_endpoints_is_explained() -> None:
    """
    A second `location /` replaces nothing; another duplicate is an error of the file alone.
    """
    text = 'duplicate location "{}" in /run/8080/conf-1/server.d/mine.conf:1'

    assert "use other paths in server.d" in advice(text.format("/"))
    assert "other paths" not in advice(text.format("/v1"))
