"""
What people know from the official image holds here too.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.container import Container
from tests.support.engine import IMAGE, inspected, run_engine

Contain = Callable[..., Container]
Typed = Callable[..., tuple[int, list[str]]]


def mounted(folder: Path, place: str, name: str, text: str) -> tuple[str, ...]:
    """
    Write an operator's file, and return the options that mount it.
    """
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return ("--volume", f"{path}:{place}/{name}:ro")


def test_nginx_prints_its_configuration(typed: Typed, tmp_path: Path) -> None:
    """
    `docker run IMAGE nginx -T` tests and prints the operator's files, as any user.
    """
    options = mounted(tmp_path, "/etc/nginx/conf.d", "own.conf", "map $uri $mine { default 1; }\n")
    code, lines = typed("nginx", "-T", options=(*options, "--user", "4711"))

    assert 0 == code, lines
    assert "map $uri $mine { default 1; }" in lines
    assert "nginx: configuration file /etc/nginx/nginx.conf test is successful" in lines


def test_a_broken_file_is_seen_by_nginx(typed: Typed, tmp_path: Path) -> None:
    """
    The same command fails on a file with a mistake.
    """
    options = mounted(tmp_path, "/etc/nginx/server.d", "own.conf", "no_such_directive on;\n")
    code, lines = typed("nginx", "-t", options=options)

    assert 1 == code
    assert any("unknown directive" in line for line in lines)


def test_the_live_configuration_can_be_printed(contain: Contain) -> None:
    """
    In a running container nginx prints what it serves, at the place that the file at hand names.
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
    `docker run IMAGE bash` is bash as the image's user, with all signals as a program expects them.
    """
    line = "id -u; grep -E 'SigBlk|SigIgn' /proc/$$/status"
    done = run_engine("run", "--rm", IMAGE, "bash", "-c", line)

    assert done.returncode == 0, done.stderr
    user, *masks = done.stdout.splitlines()
    assert "101" == user
    assert [0, 0] == [int(mask.split()[1], 16) for mask in masks]


@pytest.mark.parametrize("words,code", [(("no-such-thing",), 127), (("--no-such-option",), 64)])
def test_a_wrong_word_is_told(typed: Typed, words: tuple[str, ...], code: int) -> None:
    """
    What is neither a command of ours nor a program ends with the documented code and one line.
    """
    ended, (line,) = typed(*words)

    assert code == ended
    assert line.startswith("cannot ")


def test_the_operators_scripts_and_files_count(contain: Contain, tmp_path: Path) -> None:
    """
    Scripts of /docker-entrypoint.d run first, files of conf.d and server.d are served, and the
    official image's default.conf is not.
    """
    script = mounted(tmp_path, "/docker-entrypoint.d", "50-own.sh", "#!/bin/sh\necho $GREETING\n")
    served = 'location /own { return 200 "own"; }\n'
    files = mounted(tmp_path, "/etc/nginx/server.d", "own.conf", served)
    container = contain(options=(*script, *files), GREETING="hello")

    assert "own" == container.answers("/own").text
    assert "hello" in [line["text"] for line in container.log_lines("entrypoint.output")]
    assert [] == container.log_lines("reload.failed")


def test_the_image_says_what_it_is() -> None:
    """
    Its labels are those of OCI, and its version is the program's.
    """
    labels = inspected(IMAGE)["Config"]["Labels"]
    done = run_engine("run", "--rm", IMAGE, "--version")

    assert labels["org.opencontainers.image.title"] == "autoexit-nginx"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert done.stdout.split() == ["autoexit-nginx", labels["org.opencontainers.image.version"]]
