"""
The settings: environment variables only, one table for all that reads or shows them.

A field's metadata is the row of the table: its variable, its default as a person would write it,
and its meaning.  `--help`, the README's table and the validation all come from it.  All mistakes
are reported together, because a job is redeployed for each try.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from supervisor import grammar, placement
from supervisor.admission import Network, Rules, Site
from supervisor.errors import ExitCode, Problem


def _setting(read: Callable[[str], object], default: str, meaning: str, *, shown: str = "") -> Any:  # noqa: ANN401 - a field of any type
    return field(metadata={"read": read, "default": default, "meaning": meaning, "shown": shown})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    Everything that can be set, as values: spans in seconds, sizes in bytes, instants as epoch.
    """

    service_name: tuple[str, ...] = _setting(
        grammar.services,
        "",
        "Nomad service, or several with commas: their instances form one upstream",
    )
    endpoints: tuple[Site, ...] = _setting(
        grammar.sites,
        "",
        "static `host:port,...`: no Nomad needed; names are resolved by the supervisor",
    )
    endpoints_file: str = _setting(
        grammar.path, "", "the same, one a line, re-read when it changes and at SIGHUP"
    )
    ttl: float | None = _setting(
        grammar.ttl,
        "24h",
        "lifetime: `90`, `1.5h`, `1h30m`, `7d`; `0` or `never` = no limit",
    )
    deadline: float | None = _setting(
        grammar.instant, "", "absolute end, RFC 3339 or epoch seconds; wins over TTL"
    )
    listen_port: int = _setting(
        grammar.whole(1, 65535), "8080", "public port", shown="`NOMAD_PORT_http`, else `8080`"
    )
    listen_address: tuple[str, ...] = _setting(
        grammar.addresses, "", "addresses to listen on", shown="all, IPv6 where it can be had"
    )
    ready_path: str = _setting(
        grammar.ready_path,
        "/-/ready",
        "on the public port: 200 while serving, else 503; `off` drops it",
    )
    drain_timeout: float = _setting(
        grammar.span, "30s", "how long open requests may take after the deadline, in all"
    )
    stop_timeout: float = _setting(
        grammar.span, "4s", "the same after a stop signal; keep it below Nomad's kill_timeout (5s)"
    )
    reload_quiet: float = _setting(
        grammar.span, "10ms", "a change is applied this long after the first one of a burst"
    )
    reload_interval: float = _setting(
        grammar.positive_span, "1s", "a bucket of 3 reloads refills at one per interval"
    )
    start_wait: float = _setting(
        grammar.span, "250ms", "how long nginx's start waits for the first answer of discovery"
    )
    start_timeout: float = _setting(
        grammar.positive_span, "10s", "for nginx to become ready, and for `nginx -t` to answer"
    )
    verify_timeout: float = _setting(grammar.positive_span, "5s", "for a reload to be seen to work")
    max_endpoints: int = _setting(
        grammar.whole(1, 100_000), "10000", "endpoints served; the rest is counted and said"
    )
    lb_method: str = _setting(
        grammar.one_of("round_robin", "least_conn", "random", "ip_hash"),
        "least_conn",
        "`round_robin`, `least_conn`, `random` or `ip_hash`",
    )
    max_body_size: int = _setting(
        grammar.size, "0", "largest request body; 0 = any, streamed instead of buffered"
    )
    connect_timeout: float = _setting(
        grammar.positive_span, "2s", "for a connection to an endpoint before the next one is tried"
    )
    request_timeout: float = _setting(
        grammar.positive_span, "1h", "how long a request may be silent, and may outlive a reload"
    )
    allow_networks: tuple[Network, ...] = _setting(
        grammar.networks, "", "CIDRs that endpoints may come from", shown="all but the refused"
    )
    state_dir: str = _setting(
        grammar.path,
        "/var/lib/autoexit-nginx",
        "what must survive a restart",
        shown="`autoexit-nginx/$NOMAD_TASK_NAME` in `$NOMAD_ALLOC_DIR/data`, else in `/var/lib`",
    )
    runtime_dir: str = _setting(
        grammar.folder,
        "",
        "config, sockets and pid",
        shown="named after the port in `/run/autoexit-nginx`, `$NOMAD_TASK_DIR` or the temp folder",
    )
    operator_dir: str = _setting(
        grammar.folder,
        "/etc/nginx",
        "holds the operator's own `conf.d/*.conf` and `server.d/*.conf`",
    )
    nginx_binary: str = _setting(grammar.path, "nginx", "the nginx to run, a name or a path")
    log_level: str = _setting(
        grammar.one_of("debug", "info", "warning", "error"),
        "info",
        "least severe line that is logged",
    )
    log_format: str = _setting(
        grammar.one_of("json", "console", ""),
        "",
        "`json` or `console`",
        shown="`json`; `console` on a tty",
    )
    nomad_addr: str = _setting(
        grammar.nomad_address,
        "http://127.0.0.1:4646",
        "where Nomad answers",
        shown="`NOMAD_UNIX_ADDR`, else `$NOMAD_SECRETS_DIR/api.sock`, else `http://127.0.0.1:4646`",
    )
    nomad_token: str = _setting(grammar.plain, "", "token, where no file holds one")
    nomad_token_file: str = _setting(
        grammar.path,
        "",
        "file with the token, read again for each query",
        shown="`$NOMAD_SECRETS_DIR/nomad_token`",
    )
    nomad_namespace: str = _setting(grammar.namespace, "default", "namespace of the service")
    nomad_region: str = _setting(
        grammar.plain, "", "region of the service", shown="the agent's own"
    )
    nomad_alloc_id: str = _setting(grammar.plain, "", "set by Nomad: the allocation around us")
    loopback_is_ours: bool = field(default=False)

    @property
    def rules(self) -> Rules:
        """
        Which addresses may become endpoints, given where this one runs.
        """
        return Rules(self.allow_networks, loopback=self.loopback_is_ours)


def table() -> list[tuple[str, str, str]]:
    """
    Return the rows that people read: variable, default, meaning.
    """
    return [
        (
            item.name.upper(),
            item.metadata["shown"]
            or (f"`{item.metadata['default']}`" if item.metadata["default"] else ""),
            item.metadata["meaning"],
        )
        for item in fields(Settings)
        if item.metadata
    ]


def read(environ: Mapping[str, str], exists: Callable[[str], bool]) -> Settings:
    """
    Read all settings; `exists` tells whether a path is there.

    Raises Problem with code 78 and a line for every mistake.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    mistakes, values = [], {}
    if "DURATION" in given and given.setdefault("TTL", given["DURATION"]) != given["DURATION"]:
        both = f"TTL={given['TTL']!r} and DURATION={given['DURATION']!r}"
        mistakes.append(f"{both} differ: set one of them, they mean the same")
    defaults = placement.defaults(given, exists)
    for item in fields(Settings):
        if not item.metadata:
            continue
        name = item.name.upper()
        text = given.get(name) or defaults.get(name) or item.metadata["default"]
        try:
            values[item.name] = item.metadata["read"](text)
        except ValueError as error:
            mistakes.append(f"{name}={_quoted(name, text)}: {error}")
    chosen = [name for name in ("SERVICE_NAME", "ENDPOINTS", "ENDPOINTS_FILE") if name in given]
    if len(chosen) != 1:
        trouble = (
            "one of them must be set" if not chosen else f"set only one, not {' and '.join(chosen)}"
        )
        mistakes.append(f"SERVICE_NAME, ENDPOINTS or ENDPOINTS_FILE: {trouble}")
    if mistakes:
        raise Problem(ExitCode.CONFIG, *mistakes)
    loopback = placement.may_serve_loopback(given)
    return Settings(**values, loopback_is_ours=loopback)


def suspects(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """
    Find variables that are probably one of ours misspelt: (what was set, what was meant).
    """
    ours = [item.name.upper() for item in fields(Settings) if item.metadata]
    known = {*ours, "DURATION"}
    found = []
    for name in sorted(environ):
        if name in known or name.startswith("NOMAD_"):
            continue
        meant = difflib.get_close_matches(name, ours, n=1, cutoff=0.85)
        if meant:
            found.append((name, meant[0]))
    return found


def _quoted(name: str, text: str) -> str:
    return "(hidden)" if name == "NOMAD_TOKEN" else repr(text)
