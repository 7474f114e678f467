"""
The public port in a Nomad job: which of the group's ports it is, and whether clients can reach it.

Nomad sets the ports of the whole group, by label.  `NOMAD_PORT_label` is the port to listen on: in
a network namespace the one that `to` maps, else the host's.

This module imports nothing that takes time, as `paths`, which uses it.
"""

from collections.abc import Mapping

DEFAULT = "8080"

_PORT = "NOMAD_PORT_"
_HOST_PORT = "NOMAD_HOST_PORT_"

#: Set by Nomad for each label if the allocation has a network namespace.
_NAMESPACE_ADDRESS = "NOMAD_ALLOC_ADDR_"

#: The label of Consul's sidecar, which listens on its port itself.
_SIDECAR = "connect_proxy_"


def default_port(given: Mapping[str, str]) -> str:
    """
    Return the port to listen on without LISTEN_PORT.
    """
    return given.get(_PORT + chosen_label(given)) or DEFAULT


def chosen_label(given: Mapping[str, str]) -> str:
    """
    Return the label whose port is the default: `http`, or the only one that may be meant.

    That is not the one of ADMIN_PORT.  Empty without one: two labels may be those of replicas.
    """
    labels = _labels(given)
    if "http" in labels or f"{_PORT}http" in given:
        return "http"
    return next(iter(labels)) if len(labels) == 1 else ""


def unpublished(given: Mapping[str, str], port: int) -> str:
    """
    Return why no client outside of the allocation reaches this port, with the line to add.

    Empty if it is one of the group's ports, if there are none, or if only loopback is listened on,
    for another task of the group.
    """
    labels = _labels(given)
    published = {*labels.values(), given.get("NOMAD_PORT_admin", "")}
    if not any(name.startswith(_NAMESPACE_ADDRESS) for name in given):
        published |= {given[name] for name in given if name.startswith(_HOST_PORT)}
    if not labels or str(port) in published or _is_private(given):
        return ""
    ports = ", ".join(f"{label} ({number})" for label, number in sorted(labels.items()))
    label = "http" if "http" in labels else min(labels)
    line = f'LISTEN_PORT = "${{NOMAD_PORT_{label}}}"'
    return (
        f"the public port {port} is none of the group's ports, {ports}: clients outside of the"
        f" allocation cannot reach it; add {line} to the task's env, or `to = {port}` to the port"
        " in a bridge network"
    )


def without_ports(given: Mapping[str, str], port: int) -> str:
    """
    Return why no client reaches the port of a container whose group has no ports; empty if it has.
    """
    has_ports = any(name.startswith(_PORT) for name in given)
    if "NOMAD_ALLOC_ID" not in given or has_ports or _is_private(given):
        return ""
    return (
        f"the group has no port for the public port {port}: without the host's network no client"
        ' reaches it; add `network { port "http" {} }` to the group and'
        ' `ports = ["http"]` to the task\'s config'
    )


def _labels(given: Mapping[str, str]) -> dict[str, str]:
    """Return the ports that may be the public one, by label."""
    admin = given.get("ADMIN_PORT", "")
    return {
        name.removeprefix(_PORT): number
        for name, number in given.items()
        if name.startswith(_PORT)
        and not name.startswith(_PORT + _SIDECAR)
        and name != f"{_PORT}admin"
        and number != admin
        and _is_port(number)
    }


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536


def _is_private(given: Mapping[str, str]) -> bool:
    """Return whether only loopback is listened on."""
    parts = [part.strip().strip("[]") for part in given.get("LISTEN_ADDRESS", "").split(",")]
    return all(part.startswith("127.") or part == "::1" for part in parts)
