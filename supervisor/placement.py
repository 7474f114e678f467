"""
Where we were placed: what Nomad's variables say about the settings that nobody set.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from supervisor.admission import read_address
from supervisor.model import Endpoint


@dataclass(frozen=True, slots=True)
class Place:
    """
    What follows from where we are: whether loopback may be served, and which endpoints we are.
    """

    loopback: bool = False
    own: frozenset[Endpoint] = frozenset()


def place(given: Mapping[str, str], local: Iterable[str]) -> Place:
    """
    Tell where we are, from Nomad's variables and the addresses of this machine.
    """
    return Place(may_serve_loopback(given))


def defaults(given: Mapping[str, str], exists: Callable[[str], bool]) -> dict[str, str]:
    """
    Return the defaults that depend on the place, by variable; `exists` tells if a path is there.
    """
    found = {}
    if "NOMAD_PORT_http" in given:
        found["LISTEN_PORT"] = given["NOMAD_PORT_http"]
    if "NOMAD_ALLOC_DIR" in given:
        task = given.get("NOMAD_TASK_NAME", "task")
        found["STATE_DIR"] = f"{given['NOMAD_ALLOC_DIR']}/data/autoexit-nginx/{task}"
    secrets = given.get("NOMAD_SECRETS_DIR", "")
    socket = f"{secrets}/api.sock"
    if "NOMAD_UNIX_ADDR" in given:
        found["NOMAD_ADDR"] = given["NOMAD_UNIX_ADDR"]
    elif secrets and exists(socket):
        found["NOMAD_ADDR"] = f"unix://{socket}"
    if secrets and exists(f"{secrets}/nomad_token"):
        found["NOMAD_TOKEN_FILE"] = f"{secrets}/nomad_token"
    return found


def may_serve_loopback(given: Mapping[str, str]) -> bool:
    """
    Tell whether an endpoint on loopback is one of ours, and not the neighbour's secrets.

    It is where no registry is trusted (a list or a file), where no allocation is around us (a
    laptop), and where the allocation's own address is loopback (a dev agent).
    """
    if "SERVICE_NAME" not in given or "NOMAD_ALLOC_ID" not in given:
        return True
    ours = [read_address(value) for name, value in given.items() if name.startswith("NOMAD_IP_")]
    return any(address is not None and address.is_loopback for address in ours)


def runtime_candidates(environ: Mapping[str, str], temp: str) -> list[str]:
    """
    Return the folders to try for config and sockets, best first.

    The same rule serves the commands that look for a running supervisor, so it needs nothing
    but the environment and the temp folder.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    if "RUNTIME_DIR" in given:
        return [given["RUNTIME_DIR"].rstrip("/")]
    port = given.get("LISTEN_PORT") or given.get("NOMAD_PORT_http") or "8080"
    roots = ["/run/autoexit-nginx", given.get("NOMAD_TASK_DIR", ""), f"{temp}/autoexit-nginx"]
    return [f"{root.rstrip('/')}/{port}" for root in roots if root]
