"""
Parsers of setting values: text in, value out; ValueError states the expected form.

Values are matched in full and in ASCII: `int()` accepts ` 80 `, `8_0` and Arabic digits, and `$`
matches before a final newline; a value that reaches a config file must allow neither.
"""

import ipaddress
import re
from collections.abc import Callable

from supervisor.core import durations
from supervisor.core.addresses import HostPort, Network, parse_host_port

_SERVICE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_NAMESPACE = re.compile(r"[A-Za-z0-9-]{1,128}")
_URI_PATH = re.compile(r"/[A-Za-z0-9._~/-]{1,200}")
_TARGET = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]{0,1000}")
_STATUSES = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_HOST_HEADER = re.compile(
    r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?)(?::[0-9]{1,5})?"
)
_ADDRESS = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?/?")
_FOLDER = re.compile(r"/[A-Za-z0-9._~+@=/ -]*")
_NETWORK = re.compile(r"[0-9A-Fa-f.:]+(?:/[0-9.]+)?")
_HASH_KEY = re.compile(r"ip|uri|header:[A-Za-z][A-Za-z0-9-]{0,63}|cookie:[A-Za-z0-9_]{1,64}")
_SIZE = re.compile(r"([0-9]{1,12})([kKmMgG]?)")


def span(text: str) -> float:
    """Read a duration in seconds; zero is allowed."""
    return durations.parse_span(text)


def positive_span(text: str) -> float:
    """Read a duration in seconds; zero is refused."""
    seconds = durations.parse_span(text)
    if not seconds:
        raise ValueError("expected a duration longer than 0")
    return seconds


def spans(text: str) -> tuple[float, ...]:
    """Read comma-separated durations in seconds, longest first; `off` means none."""
    found = () if text.lower() == "off" else map(positive_span, _listed(text))
    return tuple(sorted(set(found), reverse=True))


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers within bounds."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", text) or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return read


def port_or_off(text: str) -> int | None:
    """Read a port; None for `off`."""
    return None if text.lower() == "off" else whole(1, 65535)(text)


def one_of(*values: str) -> Callable[[str], str]:
    """Return a parser of a fixed set of values, in any case; an empty one is for unset."""

    def read(text: str) -> str:
        if text.lower() not in values:
            raise ValueError(f"expected one of {', '.join(filter(None, values))}")
        return text.lower()

    return read


def truth(text: str) -> bool:
    """Read a boolean."""
    if text.lower() not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        raise ValueError("expected true or false")
    return text.lower() in {"true", "1", "yes", "on"}


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def ttl(text: str) -> float | None:
    """Read a lifetime in seconds; None for one without limit."""
    return durations.parse_ttl(text)


def instant(text: str) -> float | None:
    """Read an instant as epoch seconds; None if unset."""
    return durations.parse_instant(text) if text else None


def services(text: str) -> tuple[str, ...]:
    """Read comma-separated service names: Nomad allows letters, digits and dashes."""
    for name in _listed(text):
        if not _SERVICE.fullmatch(name):
            raise ValueError(
                f"expected Nomad service names (letters, digits, dashes), not {name!r}"
            )
    return tuple(dict.fromkeys(_listed(text)))


def host_ports(text: str) -> tuple[HostPort, ...]:
    """Read comma-separated `host:port`."""
    return tuple(dict.fromkeys(parse_host_port(part) for part in _listed(text)))


def networks(text: str) -> tuple[Network, ...]:
    """Read comma-separated CIDRs, each once; without zones, as some reach a config file."""
    for part in _listed(text):
        if not _NETWORK.fullmatch(part):
            raise ValueError(f"expected networks such as 10.0.0.0/8, not {part!r}")
    try:
        return tuple(dict.fromkeys(ipaddress.ip_network(part) for part in _listed(text)))
    except ValueError as error:
        raise ValueError(f"expected networks such as 10.0.0.0/8 ({error})") from None


def addresses(text: str) -> tuple[str, ...]:
    """Read comma-separated IP addresses to listen on."""
    try:
        found = [ipaddress.ip_address(part.strip("[]")) for part in _listed(text)]
    except ValueError as error:
        raise ValueError(f"expected IP addresses ({error})") from None
    if any("%" in str(address) for address in found):
        raise ValueError("expected IP addresses without a zone")
    return tuple(str(address) for address in found)


def statuses(text: str) -> tuple[tuple[int, int], ...]:
    """Read comma-separated HTTP statuses and ranges, as (first, last)."""
    found = []
    for part in _listed(text):
        match = _STATUSES.fullmatch(part)
        if not match or int(match[1]) > int(match[2] or match[1]):
            raise ValueError(f"expected HTTP statuses such as 200 or 200-399, not {part!r}")
        found.append((int(match[1]), int(match[2] or match[1])))
    if not found:
        raise ValueError("expected HTTP statuses such as 200 or 200-399")
    return tuple(found)


def tags(text: str) -> tuple[str, ...]:
    """Read comma-separated tags; any text, because they are only compared."""
    return tuple(dict.fromkeys(_listed(text)))


def job(text: str) -> str:
    """Read a job ID or `self`; any text, because it is only compared and Nomad allows any."""
    return text


def host_name(text: str) -> str:
    """Read a host name as in a certificate."""
    if text and not _HOST_NAME.fullmatch(text):
        raise ValueError("expected a host name such as server.global.nomad")
    return text


def host_header(text: str) -> str:
    """Read the value of a Host header: a name or an address, with an optional port."""
    if text and not _HOST_HEADER.fullmatch(text):
        raise ValueError("expected a host such as models.example.org or localhost:8000")
    return text


def uri_path(text: str) -> str:
    """Read a request path for an endpoint, with an optional query."""
    if text and not _TARGET.fullmatch(text):
        raise ValueError("expected a path such as /v2/models/")
    return text


def hash_key(text: str) -> str:
    """Read a hash key; names are limited to the characters of an nginx variable."""
    if text and not _HASH_KEY.fullmatch(text):
        raise ValueError("expected ip, uri, header:NAME or cookie:NAME")
    return text


def ready_path(text: str) -> str:
    """Read a path below /, or `off`."""
    if text == "off":
        return ""
    if not _URI_PATH.fullmatch(text) or "//" in text or "/." in text:
        raise ValueError("expected a path such as /-/ready, or off")
    return text


def folder(text: str) -> str:
    """Read an absolute path that needs no quoting in a config file."""
    if not text:
        return text
    if not _FOLDER.fullmatch(text):
        raise ValueError("expected an absolute path of letters, digits, spaces and ._~+@=/-")
    return text.rstrip("/") or "/"


def path(text: str) -> str:
    """Read any path; it never reaches a config file."""
    return text


def size(text: str) -> int:
    """Read a size such as `0`, `512k`, `20m` or `2g`, and return bytes."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError("expected a size such as 0, 512k, 20m or 2g")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]


def namespace(text: str) -> str:
    """Read one Nomad namespace; for `*` Nomad returns an empty list without an error."""
    if text == "*":
        raise ValueError("expected one namespace: Nomad returns an empty list for '*'")
    if not _NAMESPACE.fullmatch(text):
        raise ValueError("expected a Nomad namespace (letters, digits, dashes)")
    return text


def plain(text: str) -> str:
    """Read any text that is allowed in an HTTP header."""
    if not text.isascii() or not text.isprintable():
        raise ValueError("expected printable ASCII")
    return text


def nomad_address(text: str) -> str:
    """Read the address of Nomad's API: http://host:port, https://host:port or unix:///path."""
    if re.fullmatch(r"unix:///[!-~]+", text):
        return text
    match = _ADDRESS.fullmatch(text)
    if match and (not match[1] or 0 < int(match[1]) < 65536):
        return text.rstrip("/")
    raise ValueError("expected http://host:port, https://host:port or unix:///path")
