"""
Servers of the operator on a port of ours, which nginx accepts without a word.

nginx sends a request to the server whose `listen` has the more specific address, then to the one
whose `server_name` matches.  So a server in `conf.d` on our port answers requests that were meant
for the endpoints.  Files that these files include are not read.

Pure.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from supervisor.nginx.host_limits import listen_address

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)|(?P<mark>[{};])"""
    r"""|(?P<word>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|\$\{|[^\s;{}\\])(?:\\.|\$\{[^}]*\}|[^\s;{\\])*)""",
    re.DOTALL,
)
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")

#: The port of a `listen` with an address only.
_DEFAULT_PORT = "80"

_WILDCARDS = {"": "0.0.0.0", "*": "0.0.0.0"}  # noqa: S104 - compared with, not bound to
_ALL = frozenset({"0.0.0.0", "::"})  # noqa: S104


def on_our_ports(files: Mapping[str, bytes], listen: Iterable[str]) -> list[str]:
    """
    Return a sentence for each server of the operator's `conf.d` on one of these `listen`.
    """
    ours = [listen_address(argument) for argument in listen]
    found = []
    for name in sorted(files):
        if name.startswith("conf.d/"):
            for line, argument, names in _servers(files[name].decode(errors="replace")):
                ports = {port for host, port in ours if _overlaps(argument, host, port)}
                found += [
                    f"{name}:{line}: `listen {argument}` is on our port {port}: requests that match"
                    f" that server ({names}) do not reach the endpoints"
                    for port in sorted(ports)
                ]
    return found


def listening_ports(files: Mapping[str, bytes]) -> frozenset[int]:
    """
    Return the TCP ports on which servers of the operator's `conf.d` listen.
    """
    found = set[int]()
    for name, content in files.items():
        if name.startswith("conf.d/"):
            for _, argument, _ in _servers(content.decode(errors="replace")):
                found.update(_listened(argument))
    return frozenset(found)


def replaced_logs(files: Mapping[str, bytes]) -> list[str]:
    """
    Return the places where an `access_log` of the operator replaces those at http level.
    """
    found = []
    for name in sorted(files):
        depth = 0 if name.startswith("conf.d/") else 1
        if not name.startswith(("conf.d/", "server.d/")):
            continue
        for line, words, mark in _directives(files[name].decode(errors="replace")):
            if words[:1] == ["access_log"] and depth:
                found.append(f"{name}:{line}")
            depth += {"{": 1, "}": -1}.get(mark, 0)
    return found


def _listened(argument: str) -> range:
    """Return the ports of an argument of `listen`; none for a unix socket."""
    if argument.startswith("unix:"):
        return range(0)
    if _PORTS.fullmatch(argument):
        ports = argument
    elif argument.endswith("]") or ":" not in argument:
        ports = _DEFAULT_PORT
    else:
        ports = argument.rpartition(":")[2]
    bounds = _PORTS.fullmatch(ports)
    return range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1) if bounds else range(0)


def _servers(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line and the argument of each `listen` of a server, and its names."""
    blocks: list[str] = []
    listens: list[tuple[int, str]] = []
    names: list[str] = []
    for line, words, mark in _directives(text):
        if mark == "{":
            blocks.append(words[0] if words else "")
            if blocks == ["server"]:
                listens, names = [], []
        elif mark == "}":
            if blocks == ["server"]:
                shown = f"server_name {' '.join(names)}" if names else "no server_name"
                yield from ((at, argument, shown) for at, argument in listens)
            del blocks[-1:]
        elif blocks == ["server"] and words[:1] == ["listen"] and len(words) > 1:
            listens.append((line, words[1]))
        elif blocks == ["server"] and words[:1] == ["server_name"]:
            names += words[1:]


def _directives(text: str) -> Iterator[tuple[int, list[str], str]]:
    """Yield the line, the words and the end (`;`, `{` or `}`) of each directive."""
    words: list[str] = []
    line = started = 1
    for match in _TOKEN.finditer(text):
        if match["word"]:
            started = started if words else line
            words.append(match["word"].strip("\"'"))
        elif match["mark"]:
            yield started if words else line, words, match["mark"]
            words = []
        line += match[0].count("\n")


def _overlaps(argument: str, host: str, port: int) -> bool:
    """Return whether an argument of `listen` includes this address and port."""
    if argument.startswith("unix:"):
        return False
    if _PORTS.fullmatch(argument):
        address, ports = "", argument
    elif argument.endswith("]") or ":" not in argument:
        address, ports = argument, _DEFAULT_PORT
    else:
        address, _, ports = argument.rpartition(":")
    bounds = _PORTS.fullmatch(ports)
    if bounds is None or not int(bounds[1]) <= port <= int(bounds[2] or bounds[1]):
        return False
    theirs = _WILDCARDS.get(address, address.strip("[]"))
    if not re.fullmatch(r"[0-9.]+|.*:.*", theirs):  # a name: nginx resolves it
        return True
    is_same_family = (":" in theirs) == (":" in host)
    return is_same_family and (theirs == host or bool({theirs, host} & _ALL))
