"""
The conventions of the official nginx image.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.container import Container
from tests.support.engine import IMAGE, inspected, run_engine
from tests.support.waiting import eventually

Contain = Callable[..., Container]
RunCommand = Callable[..., tuple[int, list[str]]]


def mounted(folder: Path, target: str, name: str, text: str) -> tuple[str, ...]:
    """
    Write an operator's file, and return the options that mount it.
    """
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return ("--volume", f"{path}:{target}/{name}:ro")


def test_nginx_prints_its_configuration(run_command: RunCommand, tmp_path: Path) -> None:
    """
    `docker run IMAGE nginx -T` tests and prints the operator's files, as any user.
    """
    options = mounted(tmp_path, "/etc/nginx/conf.d", "own.conf", "map $uri $mine { default 1; }\n")
    code, lines = run_command("nginx", "-T", options=(*options, "--user", "4711"))

    assert 0 == code, lines
    assert "map $uri $mine { default 1; }" in lines
    assert "nginx: configuration file /etc/nginx/nginx.conf test is successful" in lines


def test_nginx_reports_a_broken_file(run_command: RunCommand, tmp_path: Path) -> None:
    """
    `nginx -t` fails for a file with an error.
    """
    options = mounted(tmp_path, "/etc/nginx/server.d", "own.conf", "no_such_directive on;\n")
    code, lines = run_command("nginx", "-t", options=options)

    assert 1 == code
    assert any("unknown directive" in line for line in lines)


def test_the_live_configuration_can_be_printed(contain: Contain) -> None:
    """
    In a running container nginx prints the live configuration, by the command in its nginx.conf.
    """
    container = contain()
    container.answers()
    hint = next(
        line
        for line in container.inside("cat", "/etc/nginx/nginx.conf").splitlines()
        if "-c" in line
    )
    shown = container.inside(*hint.removeprefix("#").split())

    assert "upstream" in shown
    assert "test is successful" in shown


def test_a_shell_is_a_shell() -> None:
    """
    `docker run IMAGE bash` is bash as the image's user, with default signal dispositions.
    """
    line = "id -u; grep -E 'SigBlk|SigIgn' /proc/$$/status"
    done = run_engine("run", "--rm", IMAGE, "bash", "-c", line)

    assert done.returncode == 0, done.stderr
    user, *masks = done.stdout.splitlines()
    assert "101" == user
    assert [0, 0] == [int(mask.split()[1], 16) for mask in masks]


@pytest.mark.parametrize("words,code", [(("no-such-thing",), 127), (("--no-such-option",), 64)])
def test_a_wrong_argument_is_reported(
    run_command: RunCommand, words: tuple[str, ...], code: int
) -> None:
    """
    An argument that is neither a subcommand nor a program leads to the documented code and one
    line.
    """
    actual, (line,) = run_command(*words)

    assert code == actual
    assert line.startswith("cannot ")


def test_the_operators_scripts_and_files_are_used(contain: Contain, tmp_path: Path) -> None:
    """
    Scripts of /docker-entrypoint.d run first, files of conf.d and server.d are served, and the
    official image's default.conf is not.
    """
    script = mounted(tmp_path, "/docker-entrypoint.d", "50-own.sh", "#!/bin/sh\necho $GREETING\n")
    location = 'location /own { return 200 "own"; }\n'
    files = mounted(tmp_path, "/etc/nginx/server.d", "own.conf", location)
    container = contain(options=(*script, *files), GREETING="hello")

    assert "own" == container.answers("/own").text
    eventually(lambda: "hello" in [x["text"] for x in container.log_lines("entrypoint.output")], 5)
    assert [] == container.log_lines("reload.failed")


def test_the_image_has_oci_labels() -> None:
    """
    The image has the labels of OCI, and its version is the program's.
    """
    labels = inspected(IMAGE)["Config"]["Labels"]
    done = run_engine("run", "--rm", IMAGE, "--version")

    assert labels["org.opencontainers.image.title"] == "autoexit-nginx"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert done.stdout.split() == ["autoexit-nginx", labels["org.opencontainers.image.version"]]


def test_loopback_in_a_container_is_named_as_the_cause(contain: Contain) -> None:
    """
    A replica at 127.0.0.1 is on the host; in the container that address is the container itself.
    """
    container = contain()

    def row() -> dict[str, Any]:
        status = json.loads(container.inside("autoexit-nginx", "status", "--json"))
        (found,) = status["endpoints"]["rows"]
        assert found["last_probe"]
        return dict(found["last_probe"])

    probe = eventually(row)
    assert "connection refused" == probe["outcome"]
    assert "127.0.0.1 is the container itself, not the host" in probe["hint"]
