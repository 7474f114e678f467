"""
The next step for what nginx writes to its error log, one rule for each cause that people meet.

nginx names the system call that failed, or the file in which it stopped reading: that of the
generation, which is a copy.  The advice names the setting, the operator's own file or the limit.
"""

import re
from collections.abc import Callable

from supervisor.core.config.settings import Settings

_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str], Settings], str]]

_BIND = r"bind\(\) to \S+ failed "
_COPY = r"in \S*/conf-[0-9]+/(conf\.d|server\.d)/(\S+):([0-9]+)"


def next_step(text: str, settings: Settings) -> str:
    """
    Return what to do about a line of nginx, or nothing where no rule applies.
    """
    for pattern, advice in _RULES:
        if match := pattern.search(text):
            return advice if isinstance(advice, str) else advice(match, settings)
    return ""


def _operator_file(match: re.Match[str], settings: Settings) -> str:
    folder, name, line = match.groups()
    own = f"{settings.operator_dir.rstrip('/')}/{folder}/{name}"
    step = f"correct line {line} of {own}, then test it with `autoexit-nginx check`"
    if folder == "server.d" and 'duplicate location "/"' in match.string:
        return f"{step}: `/` is the location of the endpoints, so use other paths in server.d"
    return step


_RULES: tuple[_Rule, ...] = (
    (
        re.compile(rf"{_BIND}\(98:"),
        ("stop the process that listens there (`ss -ltnp` lists it), or set another LISTEN_PORT"),
    ),
    (
        re.compile(rf"{_BIND}\(13:"),
        (
            "a port below 1024 needs root: set LISTEN_PORT=8080 and publish it as the other port"
            " (Docker: -p 80:8080; Nomad: static = 80 and to = 8080)"
        ),
    ),
    (
        re.compile(rf"{_BIND}\(99:"),
        "no interface has this address: correct LISTEN_ADDRESS, or remove it",
    ),
    (re.compile(_COPY), _operator_file),
    (
        re.compile(r"worker_connections are not enough"),
        (
            "raise the limit of open files (Docker: --ulimit nofile=65536), unless few clients are"
            " connected: then requests go in a circle, because another balancer is one of the"
            " endpoints (`autoexit-nginx status` lists them)"
        ),
    ),
    (
        re.compile(r"\(24: (Too many|No file descriptors)"),
        "raise the limit of open files (Docker: --ulimit nofile=65536)",
    ),
    (
        re.compile(r"(cannot start|fork\(\) failed).*Resource temporarily unavailable"),
        (
            "raise the limit of processes: --pids-limit (Docker), pids_limit (Nomad), TasksMax"
            " (systemd)"
        ),
    ),
    (
        re.compile(r"worker process [0-9]+ exited on signal 9"),
        (
            "usually the kernel killed it because the memory limit was reached: give the task more"
            " `memory`, or set a smaller MAX_DRAINING"
        ),
    ),
    (
        re.compile(r"upstream sent no valid HTTP/1\.0 header"),
        (
            "the server on that port does not use HTTP/1 or requires TLS: let the replica serve"
            " plain HTTP there; with a HEALTH_PATH the probes find such endpoints"
        ),
    ),
    (
        re.compile(r"upstream prematurely closed connection while reading response header"),
        (
            "the replica closed the connection instead of responding: its own log has the reason;"
            " if it closes every one, it may require TLS, which nginx does not use to replicas"
        ),
    ),
    (
        re.compile(r"upstream sent too big header"),
        'the recipe "Larger headers" in docs/recipes.md accepts larger ones',
    ),
    (
        re.compile(r"client intended to send too large body"),
        lambda _, settings: (
            "set a larger MAX_BODY_SIZE"
            if settings.max_body_size
            else "client_max_body_size in a file of conf.d or server.d refuses it"
        ),
    ),
    (
        re.compile(r"upstream timed out \([^)]*\) while reading response header"),
        (
            "the replica did not respond within REQUEST_TIMEOUT: see its own log, or set a longer"
            " one"
        ),
    ),
    (
        re.compile(r"upstream timed out \([^)]*\) while connecting"),
        (
            "the endpoint did not accept within CONNECT_TIMEOUT: check firewalls, and the network"
            " in which the replica registers its address"
        ),
    ),
)
