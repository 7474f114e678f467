"""
Where we were placed: what Nomad's variables say about the settings that nobody set.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from supervisor.core.addresses import canonical, read_address
from supervisor.core.model import Endpoint

_PORT = re.compile(r"[0-9]{1,10}")

#: What to listen on means every address of that kind.
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - to compare with, not to bind to


@dataclass(frozen=True, slots=True)
class TaskEnvironment:
    """
    What follows from where we are: whether loopback may be served, and which endpoints we are.

    Any address of 127.0.0.0/8 with a port of `own_loopback` is us as well.
    """

    loopback: bool = False
    own: frozenset[Endpoint] = frozenset()
    own_loopback: frozenset[int] = frozenset()


def task_environment(given: Mapping[str, str], local: Iterable[str]) -> TaskEnvironment:
    """
    Tell where we are, from Nomad's variables and the addresses of this machine.

    We answer at our local addresses with the ports we listen on, and where Nomad publishes us: at
    the host's addresses with our host ports.  Nomad tells the ports of the whole group: a label
    whose inner port is another than ours belongs to a neighbour, maybe to a replica.  The host's
    address with our inner port is somebody else: in bridge mode many containers listen on 8080
    inside, and another's static port on the same host may carry that number.  Only where no host
    port is told do we take it for us.
    """
    here = _canonical(local)
    ports = {
        _port(given.get("LISTEN_PORT") or given.get("NOMAD_PORT_http") or "8080"),
        _port(given.get("ADMIN_PORT") or given.get("NOMAD_PORT_admin") or "off"),
    } - {None}
    published = {
        _port(given[f"NOMAD_HOST_PORT_{label}"])
        for label in _labels(given, "NOMAD_HOST_PORT_")
        if _port(given.get(f"NOMAD_PORT_{label}", "")) in {*ports, None}
    } - {None}
    hosts = _canonical(
        [*_labelled(given, "NOMAD_IP_"), *_labelled(given, "NOMAD_HOST_IP_")],
    )
    listening, is_everywhere = _listening(given, here)
    own = {(host, number) for host in here | hosts for number in published}
    own |= {(host, port) for host in listening for port in ports}
    if not _labels(given, "NOMAD_HOST_PORT_"):
        own |= {
            (host, port) for host in _canonical(_labelled(given, "NOMAD_IP_")) for port in ports
        }
    return TaskEnvironment(
        may_serve_loopback(given),
        frozenset(Endpoint(host, number) for host, number in own if number is not None),
        frozenset(port for port in ports if port is not None and is_everywhere),
    )


def _listening(given: Mapping[str, str], here: set[str]) -> tuple[set[str], bool]:
    """Return the addresses that we listen on, and whether all of IPv4 is among them."""
    parts = given.get("LISTEN_ADDRESS", "").split(",")
    asked = _canonical(part.strip().strip("[]") for part in parts)
    wild = asked.intersection(_WILDCARDS) if asked else set(_WILDCARDS)
    every = {host for host in here for all_ in wild if (":" in host) == (":" in all_)}
    return (asked - wild) | every, _WILDCARDS[0] in wild


def _labels(given: Mapping[str, str], prefix: str) -> list[str]:
    """Return the labels of ports for which Nomad gives a value."""
    return [name.removeprefix(prefix) for name in given if name.startswith(prefix)]


def _labelled(given: Mapping[str, str], prefix: str) -> list[str]:
    """Return the values that Nomad gives for each port's label."""
    return [given[prefix + label] for label in _labels(given, prefix)]


def _canonical(texts: Iterable[str]) -> set[str]:
    """Return those of the texts that are addresses, as an endpoint's host is written."""
    return {canonical(address) for address in map(read_address, texts) if address is not None}


def _port(text: str) -> int | None:
    """Return a port, or None: a setting that is wrong is told by the settings."""
    return int(text) if _PORT.fullmatch(text) and 0 < int(text) < 65536 else None


def defaults(given: Mapping[str, str], exists: Callable[[str], bool]) -> dict[str, str]:
    """
    Return the defaults that depend on the place, by variable; `exists` tells if a path is there.
    """
    found = {}
    if "NOMAD_PORT_http" in given:
        found["LISTEN_PORT"] = given["NOMAD_PORT_http"]
    if "NOMAD_PORT_admin" in given:
        found["ADMIN_PORT"] = given["NOMAD_PORT_admin"]
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
    laptop), and where the allocation's own address is loopback (a dev agent); one port of several
    that is published on loopback alone does not make it so.
    """
    if "SERVICE_NAME" not in given or "NOMAD_ALLOC_ID" not in given:
        return True
    ours = [read_address(text) for text in _labelled(given, "NOMAD_IP_")]
    return bool(ours) and all(address is not None and address.is_loopback for address in ours)
