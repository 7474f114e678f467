"""
The image is built on the current stable nginx wherever that can be pulled.
"""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

STABLE = next(
    line.partition("=")[2]
    for line in (ROOT / "Dockerfile").read_text().splitlines()
    if line.startswith("ARG NGINX_IMAGE=")
)

#: An engine whose registry has only the images in $HAS, and which stores the base of a build.
ENGINE = """#!/bin/sh
case $1 in
    --version) echo docker ;;
    image) exit 1 ;;
    pull) for each in $HAS; do [ "$3" = "$each" ] && exit; done; exit 1 ;;
    build) echo "$*" | tr " " "\\n" | grep NGINX_IMAGE >"$BUILT" || echo default >"$BUILT" ;;
esac
"""


def test_the_first_choice_is_a_stable_release_by_tag() -> None:
    """
    The Dockerfile names the official image, an even minor version, and no registry host.
    """
    name, _, tag = STABLE.partition(":")
    minor = int(tag.split(".")[1])

    assert ("nginx", 0) == (name, minor % 2)


@pytest.mark.parametrize(
    "has,settings,base",
    [
        pytest.param((STABLE, "debian:bookworm-slim"), {}, "default", id="pulled"),
        pytest.param(("debian:bookworm-slim",), {}, "debian:bookworm-slim", id="not pulled"),
        pytest.param(("debian:bookworm-slim",), {"NGINX_IMAGE": ""}, "default", id="demanded"),
        pytest.param((STABLE, "mine:1"), {"NGINX_IMAGE": "mine:1"}, "mine:1", id="named"),
    ],
)
def test_debian_is_the_base_only_where_nginx_cannot_be_pulled(
    tmp_path: Path, has: tuple[str, ...], settings: dict[str, str], base: str
) -> None:
    """
    Without NGINX_IMAGE, Debian replaces the stable nginx where that is missing, and this is
    printed; with it, even empty, nothing else is built on.
    """
    engine, built = tmp_path / "engine", tmp_path / "built"
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    environ = {"PATH": os.environ["PATH"], "HAS": " ".join(has), "BUILT": str(built), **settings}
    done = subprocess.run(
        [ROOT / "tools/image"],
        env={**environ, "ENGINE": str(engine)},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )

    assert base == built.read_text().strip().removeprefix("NGINX_IMAGE=")
    assert (f"cannot pull {STABLE}" in done.stdout) == (not settings and STABLE not in has)
