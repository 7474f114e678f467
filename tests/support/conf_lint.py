"""
Checks of a rendered configuration for directives that must not be in it.

Each of these was part of a vulnerability of nginx, allows text of the registry in, or loses
requests.  The allowed directives are in `conf_allowlist`.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import crossplane

#: Forbidden directives, also as the first part of a longer name.
FORBIDDEN = (
    *("http2", "http3", "quic", "ssl", "rewrite", "resolver", "slice", "perl", "lua", "js_", "if"),
    *("alias", "autoindex", "mirror", "dav", "mp4", "flv", "ssi", "sub_filter", "mail", "stream"),
    *("root", "index", "try_files", "load_module", "env", "grpc", "auth_", "secure_link", "geo"),
    *("fastcgi_pass", "uwsgi_pass", "scgi_pass", "memcached", "charset", "error_page", "proxy_ssl"),
)
#: Arguments that are forbidden in any directive.
FORBIDDEN_WORDS = frozenset(
    {"ssl", "http2", "quic", "reuseport", "resolve", "non_idempotent", "backup", "proxy_protocol"}
)
#: The only table of networks: the trusted proxies.
TRUSTED = ("geo", ("$realip_remote_addr", "$is_trusted"))
#: The only retry of non-idempotent requests, with RETRY_POST: how often is limited elsewhere.
RETRY_POST = ("proxy_next_upstream", ("error", "timeout", "non_idempotent"))
#: The only error page: nginx's own response to a long header is 400.
TOO_LARGE = ("error_page", ("494", "=431", "@header_too_large"))
#: The only conditions: a preflight, and whether another generation is live.
PREFLIGHT = ("if", ("$preflight",))
OVER = re.compile(r"if -x /[^$]*/over/[0-9a-f]{12}-[0-9]+", re.DOTALL)
#: The only regular expressions: a browser accepts HTML among other types; a request line begins as
#: TLS does; and, for an nginx without $request_port, the host of the request line and the port,
#: each in a named capture of its own map.
EXPRESSIONS = {
    ("map $http_accept $reader", "~*text/html", ("person",)),
    ("map $request $protocol_of_line", r"~^\x16\x03", ("TLS",)),
    (
        "map $request $line_host",
        "~^[A-Z_-]+ +[A-Za-z][A-Za-z0-9+.-]*://(?<host_of_line>[^/? ]+)",
        ("$host_of_line",),
    ),
    ("map $proxied_host $host_port", "~:(?<port_of_host>[0-9]+)$", ("$port_of_host",)),
}

_SERVER = re.compile(r"(\S+):([0-9]{1,5})(?: weight=([1-9][0-9]{0,4}))? max_fails=0(?: backup)?")

INCLUDES = frozenset({"conf.d/*.conf", "upstream.conf", "admin.conf", "server.d/*.conf"})


@dataclass(frozen=True, slots=True)
class Directive:
    """
    One directive with its enclosing blocks.
    """

    name: str
    words: tuple[str, ...]
    around: tuple[str, ...]


def directives(files: Mapping[str, bytes], folder: Path) -> list[Directive]:
    """
    Write the files into a folder and parse all of them as nginx would.
    """
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    payload = crossplane.parse(str(folder / "nginx.conf"), check_args=True, check_ctx=True)
    assert "ok" == payload["status"], payload["errors"]
    main, *included = payload["config"]
    found = list(_walk(main["parsed"], ()))
    return [*found, *(each for file in included for each in _walk(file["parsed"], ("http",)))]


def _walk(block: list[dict[str, object]], around: tuple[str, ...]) -> Iterator[Directive]:
    for entry in block:
        name, words = str(entry["directive"]), entry["args"]
        assert isinstance(words, list)
        yield Directive(name, tuple(words), around)
        inner = entry.get("block")
        if isinstance(inner, list):
            yield from _walk(inner, (*around, " ".join([name, *words])))


def complaints(found: list[Directive]) -> list[str]:
    """
    Return the forbidden directives with the reason.
    """
    wrong = []
    for each in found:
        text = " ".join([each.name, *each.words])
        in_upstream = each.around[-1:] == ("upstream service",)
        if in_upstream and each.name == "server":
            if not is_server(" ".join(each.words)):
                wrong.append(f"{text}: not ADDRESS:PORT [weight=N] max_fails=0 [backup]")
            continue
        if (each.name, each.words) in {TRUSTED, TOO_LARGE, PREFLIGHT, RETRY_POST} or OVER.fullmatch(
            text
        ):
            continue
        if any(each.name == word or _begins(each.name, word) for word in FORBIDDEN):
            wrong.append(f"{text}: must not be used")
        if FORBIDDEN_WORDS & {word.split("=")[0] for word in each.words}:
            wrong.append(f"{text}: a forbidden argument")
        if each.name == "include" and each.words[0] not in INCLUDES:
            wrong.append(f"{text}: an unknown include")
        if (*each.around[-1:], each.name, each.words) in EXPRESSIONS:
            continue
        matches = each.name in {"location", "server_name", "if"} or _in_a_map(each)
        if matches and any(word.startswith("~") for word in (each.name, *each.words)):
            wrong.append(f"{text}: a regular expression")
        if any(f"${digit}" in word for digit in range(10) for word in each.words):
            wrong.append(f"{text}: a capture")
    return wrong


def is_server(words: str) -> bool:
    """
    Return whether a server line is an address, a port, and the allowed options.
    """
    found = _SERVER.fullmatch(words)
    if not found or not 0 < int(found[2]) < 65536 or found[3] == "1":
        return False
    host = found[1].removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return str(address) == host and found[1] == (f"[{host}]" if address.version == 6 else host)


def _begins(name: str, word: str) -> bool:
    return name.startswith(word if word.endswith("_") else f"{word}_")


def _in_a_map(each: Directive) -> bool:
    return bool(each.around) and each.around[-1].startswith(("map ", "split_clients "))
