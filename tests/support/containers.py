"""
Docker for the jobs in `jobs/`: the daemon, its bridge, and the built image.

The replicas run in the same image, since it contains a Python; their source is an argument.
"""

import json
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import Any

import psutil

from supervisor import __version__
from tests.support.nomad_agent import BRIDGE

#: Nomad's label of the containers of an allocation.
_ALLOCATION = "com.hashicorp.nomad.alloc_id"


@dataclass(frozen=True, slots=True)
class Container:
    """
    A running container: its id and its processes by pid and start time.
    """

    id: str
    processes: frozenset[tuple[int, float]]

    @property
    def left(self) -> list[int]:
        """
        The pids that still run.
        """
        return [pid for pid, began in self.processes if _began(pid) == began]


def docker(*words: str, timeout: float = 30.0) -> str:
    """
    Run a docker command and return what it printed.
    """
    done = subprocess.run(
        ["docker", *words], check=False, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, f"docker {words}: {done.stdout}{done.stderr}"
    return done.stdout


@cache
def why_no_docker() -> str:
    """
    Return why no job with the docker driver can run on this machine, or an empty string.
    """
    if not shutil.which("docker"):
        return "no docker on PATH"
    try:
        docker("info", timeout=10)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return f"no Docker daemon: {error}"
    if not bridge():
        return f"no {BRIDGE} with an address"
    try:
        docker("image", "inspect", image())
    except AssertionError:
        return f"no image {image()}: make image builds it; IMAGE=NAME picks another"
    return ""


def image() -> str:
    """
    Return the image under test.
    """
    return os.environ.get("IMAGE") or f"autoexit-nginx:{__version__}"


@cache
def bridge() -> str:
    """
    Return the address of Docker's bridge, which this machine and all containers can reach.
    """
    found = psutil.net_if_addrs().get(BRIDGE, [])
    return next((each.address for each in found if each.family == socket.AF_INET), "")


@cache
def nginx() -> str:
    """
    Return the version of the nginx in the image.
    """
    words = ("run", "--rm", "--entrypoint", "nginx", image(), "-v")
    done = subprocess.run(["docker", *words], check=True, capture_output=True, text=True)
    return done.stderr.strip().rpartition("/")[2]


def of(allocation: str, *, ended: bool = True) -> list[str]:
    """
    Return the ids of all containers of an allocation, by default including exited ones.
    """
    words = ("ps", "--quiet", "--no-trunc", "--filter", f"label={_ALLOCATION}={allocation}")
    return docker(*words, *(["--all"] if ended else [])).split()


def running(allocation: str) -> list[Container]:
    """
    Return the running containers of an allocation with their processes.
    """
    found = []
    for each in of(allocation):
        state = inspected(each)["State"]
        if state["Running"]:
            tree = [state["Pid"], *_below(state["Pid"])]
            found.append(Container(each, frozenset((pid, _began(pid)) for pid in tree)))
    return found


def inspected(container: str) -> dict[str, Any]:
    """
    Return Docker's description of a container.
    """
    (row,) = json.loads(docker("inspect", container))
    found: dict[str, Any] = row
    return found


def _below(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def _began(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0
