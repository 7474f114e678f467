"""
The container engine of this machine, Docker or Podman.
"""

import functools
import json
import os
import shutil
import subprocess
from typing import Any

from supervisor import __version__

#: The image under test.
IMAGE = os.environ.get("AUTOEXIT_IMAGE") or f"autoexit-nginx:{__version__}"


@functools.cache
def engine() -> str:
    """
    Return the command of the engine, which may not exist.
    """
    return os.environ.get("ENGINE") or ("docker" if shutil.which("docker") else "podman")


def run_engine(*words: str, within: float = 60.0) -> subprocess.CompletedProcess[str]:
    """
    Run one command of the engine and return the result.
    """
    return subprocess.run(
        [engine(), *words], capture_output=True, text=True, check=False, timeout=within
    )


@functools.cache
def why_no_image() -> str:
    """
    Return why the image cannot run on this machine, or an empty string.
    """
    try:
        tried = run_engine("image", "inspect", IMAGE)
    except OSError as error:
        return f"cannot run {engine()}: {error}"
    if tried.returncode == 0:
        return ""
    return f"no image {IMAGE}, `make container` builds it: {tried.stderr.strip()}"


def inspected(what: str) -> dict[str, Any]:
    """
    Return the engine's description of a container or an image.
    """
    done = run_engine("inspect", what)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


def pid_of(name: str) -> int:
    """
    Return the pid of a container's PID 1 on the host, 0 while there is none.
    """
    done = run_engine("inspect", "--format", "{{.State.Pid}}", name)
    return int(done.stdout) if done.returncode == 0 else 0
