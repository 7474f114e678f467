"""
Defaults and the supervisor's own endpoints, derived from Nomad's environment variables.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from supervisor.core.addresses import canonical, read_address
from supervisor.core.config.listen_port import (
    chosen_label,
    default_port,
    unpublished,
    without_ports,
)
from supervisor.core.model import Endpoint
from supervisor.core.values import value_class

_PORT = re.compile(r"[0-9]{1,10}")

#: Files that Docker and Podman create in every container.
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")

#: Listening on one of these means every address of its family.
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


@value_class(frozen=True, slots=True)
class TaskEnvironment:
    """
    What follows from the environment: whether loopback may be served, and the own endpoints.

    Any address of 127.0.0.0/8 with a port of `own_loopback` is an own endpoint as well.
    `in_container`: loopback is that of a container, so no other one can be reached there.
    `port_label` is the label of the group's only port if that is the public port for this reason;
    `port_warning` is why no client reaches the public port.  `has_nomad`: an address of Nomad's API
    is set, or the Task API is there.
    """

    loopback: bool = False
    own: frozenset[Endpoint] = frozenset()
    own_loopback: frozenset[int] = frozenset()
    in_container: bool = False
    port_label: str = ""
    port_warning: str = ""
    has_nomad: bool = False


def task_environment(
    given: Mapping[str, str],
    local: Iterable[str],
    exists: Callable[[str], bool] = lambda _: False,
) -> TaskEnvironment:
    """
    Determine the own endpoints from Nomad's variables and the addresses of this machine.

    They are the local addresses with the ports that the supervisor listens on, and the addresses
    that Nomad publishes: the host's with its host ports.  Nomad sets the ports of the whole group:
    a label with a different inner port belongs to another task, maybe to a replica.  The host's
    address with the inner port is not an own endpoint: in bridge mode many containers listen on
    8080 inside, and another container's static port on the same host may have that number.  It
    counts as an own endpoint only if no host port is set.
    """
    addresses = _canonical(local)
    public = _port(given.get("LISTEN_PORT") or default_port(given))
    label = "" if "LISTEN_PORT" in given else chosen_label(given)
    ports = {
        public,
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
    listening, is_everywhere = _listening(given, addresses)
    own = {(host, number) for host in addresses | hosts for number in published}
    own |= {(host, port) for host in listening for port in ports}
    if not _labels(given, "NOMAD_HOST_PORT_"):
        own |= {
            (host, port) for host in _canonical(_labelled(given, "NOMAD_IP_")) for port in ports
        }
    in_container = any(map(exists, _CONTAINER_MARKS))
    warning = "" if public is None else unpublished(given, public)
    if in_container and public is not None:
        warning = warning or without_ports(given, public)
    return TaskEnvironment(
        may_serve_loopback(given),
        frozenset(Endpoint(host, number) for host, number in own if number is not None),
        frozenset(port for port in ports if port is not None and is_everywhere),
        in_container=in_container,
        port_label="" if label == "http" else label,
        port_warning=warning,
        has_nomad="NOMAD_ADDR" in {**defaults(given, exists), **given},
    )


def _listening(given: Mapping[str, str], addresses: set[str]) -> tuple[set[str], bool]:
    """Return the addresses to listen on, and whether all of IPv4 is among them."""
    parts = given.get("LISTEN_ADDRESS", "").split(",")
    listed = _canonical(part.strip().strip("[]") for part in parts)
    wild = listed.intersection(_WILDCARDS) if listed else set(_WILDCARDS)
    every = {host for host in addresses for all_ in wild if (":" in host) == (":" in all_)}
    return (listed - wild) | every, _WILDCARDS[0] in wild


def _labels(given: Mapping[str, str], prefix: str) -> list[str]:
    """Return the port labels for which Nomad sets a variable with this prefix."""
    return [name.removeprefix(prefix) for name in given if name.startswith(prefix)]


def _labelled(given: Mapping[str, str], prefix: str) -> list[str]:
    """Return the values of Nomad's variables with this prefix."""
    return [given[prefix + label] for label in _labels(given, prefix)]


def _canonical(texts: Iterable[str]) -> set[str]:
    """Return the texts that are addresses, in the form of an endpoint's host."""
    return {canonical(address) for address in map(read_address, texts) if address is not None}


def _port(text: str) -> int | None:
    """Return a port, or None for an invalid one, which `load` reports."""
    return int(text) if _PORT.fullmatch(text) and 0 < int(text) < 65536 else None


def defaults(given: Mapping[str, str], exists: Callable[[str], bool]) -> dict[str, str]:
    """
    Return the defaults that depend on Nomad, by variable; `exists` tests whether a path exists.
    """
    found = {}
    if label := chosen_label(given):
        found["LISTEN_PORT"] = given[f"NOMAD_PORT_{label}"]
    if "NOMAD_PORT_admin" in given:
        found["ADMIN_PORT"] = given["NOMAD_PORT_admin"]
    if "NOMAD_ALLOC_DIR" in given:
        task = given.get("NOMAD_TASK_NAME", "task")
        found["STATE_DIR"] = f"{given['NOMAD_ALLOC_DIR']}/data/autoexit-nginx/{task}"
    else:  # by port, as RUNTIME_DIR: another instance on this machine has its own deadline
        port = given.get("LISTEN_PORT") or given.get("NOMAD_PORT_http") or "8080"
        found["STATE_DIR"] = f"/var/lib/autoexit-nginx/{port}"
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
    Return whether endpoints on loopback may be served, where private services may also listen.

    They may if the operator lists the endpoints (a list or a file), outside of an allocation (a
    laptop), and if all addresses of the allocation are loopback (a dev agent); one of several ports
    published on loopback is not enough.
    """
    if "SERVICE_NAME" not in given or "NOMAD_ALLOC_ID" not in given:
        return True
    own = [read_address(text) for text in _labelled(given, "NOMAD_IP_")]
    return bool(own) and all(address is not None and address.is_loopback for address in own)
