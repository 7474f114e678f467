"""
How the value of one setting is read: text in, value out, ValueError with what was expected.

Everything is matched in full and in ASCII: `int()` takes ` 80 `, `8_0` and Arabic digits, and
`$` matches before a final newline; a value that reaches a config file must do neither.
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
_ADDRESS = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?/?")
_FOLDER = re.compile(r"/[A-Za-z0-9._~+@=/ -]*")
_NETWORK = re.compile(r"[0-9A-Fa-f.:]+(?:/[0-9.]+)?")
_HASH_KEY = re.compile(r"ip|uri|header:[A-Za-z][A-Za-z0-9-]{0,63}|cookie:[A-Za-z0-9_]{1,64}")
_SIZE = re.compile(r"([0-9]{1,12})([kKmMgG]?)")


def span(text: str) -> float:
    """Read a duration in seconds; zero is one."""
    return durations.parse_span(text)


def positive_span(text: str) -> float:
    """Read a duration that is longer than nothing."""
    seconds = durations.parse_span(text)
    if not seconds:
        raise ValueError("expected a duration longer than 0")
    return seconds


def spans(text: str) -> tuple[float, ...]:
    """Read durations, comma-separated, and return the longest first; `off` means none."""
    found = () if text.lower() == "off" else map(positive_span, _listed(text))
    return tuple(sorted(set(found), reverse=True))


def whole(low: int, high: int) -> Callable[[str], int]:
    """Build the reader of a whole number within bounds."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", text) or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return read


def port_or_off(text: str) -> int | None:
    """Read a port; None where there is to be none."""
    return None if text.lower() == "off" else whole(1, 65535)(text)


def one_of(*words: str) -> Callable[[str], str]:
    """Build the reader of one word out of a few."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"expected one of {', '.join(filter(None, words))}")
        return text.lower()

    return read


def truth(text: str) -> bool:
    """Read yes or no."""
    if text.lower() not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        raise ValueError("expected true or false")
    return text.lower() in {"true", "1", "yes", "on"}


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def ttl(text: str) -> float | None:
    """Read a lifetime in seconds; None for one without end."""
    return durations.parse_ttl(text)


def instant(text: str) -> float | None:
    """Read an instant as epoch seconds; None where none is set."""
    return durations.parse_instant(text) if text else None


def services(text: str) -> tuple[str, ...]:
    """Read service names, comma-separated: Nomad allows letters, digits and dashes."""
    for name in _listed(text):
        if not _SERVICE.fullmatch(name):
            raise ValueError(
                f"expected Nomad service names (letters, digits, dashes), not {name!r}"
            )
    return tuple(dict.fromkeys(_listed(text)))


def host_ports(text: str) -> tuple[HostPort, ...]:
    """Read `host:port`, comma-separated."""
    return tuple(dict.fromkeys(parse_host_port(part) for part in _listed(text)))


def networks(text: str) -> tuple[Network, ...]:
    """Read CIDRs, comma-separated, each once: some reach a config file, so there are no zones."""
    for part in _listed(text):
        if not _NETWORK.fullmatch(part):
            raise ValueError(f"expected networks such as 10.0.0.0/8, not {part!r}")
    try:
        return tuple(dict.fromkeys(ipaddress.ip_network(part) for part in _listed(text)))
    except ValueError as error:
        raise ValueError(f"expected networks such as 10.0.0.0/8 ({error})") from None


def addresses(text: str) -> tuple[str, ...]:
    """Read IP addresses to listen on, comma-separated."""
    try:
        found = [ipaddress.ip_address(part.strip("[]")) for part in _listed(text)]
    except ValueError as error:
        raise ValueError(f"expected IP addresses ({error})") from None
    if any("%" in str(address) for address in found):
        raise ValueError("expected IP addresses without a zone")
    return tuple(str(address) for address in found)


def statuses(text: str) -> tuple[tuple[int, int], ...]:
    """Read HTTP statuses and ranges of them, comma-separated, as (first, last)."""
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
    """Read tags, comma-separated; they are compared and go nowhere."""
    return tuple(dict.fromkeys(_listed(text)))


def job(text: str) -> str:
    """Read a job's ID, or `self`; it is compared and goes nowhere, and Nomad allows any letters."""
    return text


def host_name(text: str) -> str:
    """Read a name as it stands in a certificate."""
    if text and not _HOST_NAME.fullmatch(text):
        raise ValueError("expected a host name such as server.global.nomad")
    return text


def uri_path(text: str) -> str:
    """Read a path, with a query where it is needed, to be asked of an endpoint."""
    if text and not _TARGET.fullmatch(text):
        raise ValueError("expected a path such as /v2/models/")
    return text


def hash_key(text: str) -> str:
    """Read what requests are told apart by; a name's letters are those of a variable of nginx."""
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
    """Read an absolute path that can stand in a config file without quoting trouble."""
    if not text:
        return text
    if not _FOLDER.fullmatch(text):
        raise ValueError("expected an absolute path of letters, digits and ._~+@=/- or blanks")
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
    """Read one Nomad namespace; `*` would answer empty without an error."""
    if text == "*":
        raise ValueError("expected one namespace: Nomad answers '*' with an empty list")
    if not _NAMESPACE.fullmatch(text):
        raise ValueError("expected a Nomad namespace (letters, digits, dashes)")
    return text


def plain(text: str) -> str:
    """Take any text that fits into an HTTP header."""
    if not text.isascii() or not text.isprintable():
        raise ValueError("expected printable ASCII")
    return text


def nomad_address(text: str) -> str:
    """Read where Nomad answers: http://host:port, https://host:port or unix:///path."""
    if re.fullmatch(r"unix:///[!-~]+", text):
        return text
    match = _ADDRESS.fullmatch(text)
    if match and (not match[1] or 0 < int(match[1]) < 65536):
        return text.rstrip("/")
    raise ValueError("expected http://host:port, https://host:port or unix:///path")
