"""
The table of settings: a row each, and nothing else.

A field's metadata is the row: its default as a person would write it, and its meaning; the
variable is the field's name in capitals.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from supervisor.core.addresses import AddressPolicy, HostPort, Network
from supervisor.core.balancing_methods import METHODS
from supervisor.core.config import parsers
from supervisor.core.config.nomad_env import TaskEnvironment


def _setting(read: Callable[[str], object], default: str, meaning: str, *, shown: str = "") -> Any:  # noqa: ANN401 - a field of any type
    return field(metadata={"read": read, "default": default, "meaning": meaning, "shown": shown})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    Everything that can be set, as values: spans in seconds, sizes in bytes, instants as epoch.
    """

    service_name: tuple[str, ...] = _setting(
        parsers.services,
        "",
        "Nomad service, or several with commas: their instances form one upstream",
    )
    endpoints: tuple[HostPort, ...] = _setting(
        parsers.host_ports,
        "",
        "static `host:port,...`: no Nomad needed; names are resolved by the supervisor",
    )
    endpoints_file: str = _setting(
        parsers.path, "", "the same, one a line, re-read when it changes and at SIGHUP"
    )
    ttl: float | None = _setting(
        parsers.ttl,
        "24h",
        "lifetime: `90`, `1.5h`, `1h30m`, `7d`; `0` or `never` = no limit",
    )
    deadline: float | None = _setting(
        parsers.instant, "", "absolute end, RFC 3339 or epoch seconds; wins over TTL"
    )
    listen_port: int = _setting(
        parsers.whole(1, 65535), "8080", "public port", shown="`NOMAD_PORT_http`, else `8080`"
    )
    listen_address: tuple[str, ...] = _setting(
        parsers.addresses, "", "addresses to listen on", shown="all, IPv6 where it can be had"
    )
    ready_path: str = _setting(
        parsers.ready_path,
        "/-/ready",
        "on the public port: 200 while serving, else 503; `off` drops it",
    )
    at_deadline: str = _setting(
        parsers.one_of("exit", "stop-job"),
        "exit",
        "`exit`, or `stop-job`: ask Nomad to stop the whole job, serve until it does (60s at most)",
    )
    admin_port: int | None = _setting(
        parsers.port_or_off,
        "off",
        "health, metrics and status to read, for whoever reaches it: see docs/operating.md",
        shown="`NOMAD_PORT_admin`, else `off`",
    )
    drain_timeout: float = _setting(
        parsers.span, "30s", "how long open requests may take after the deadline, in all"
    )
    stop_timeout: float = _setting(
        parsers.span, "4s", "the same after a stop signal; keep it below Nomad's kill_timeout (5s)"
    )
    reload_quiet: float = _setting(
        parsers.span, "10ms", "a change is applied this long after the first one of a burst"
    )
    reload_interval: float = _setting(
        parsers.positive_span, "1s", "a bucket of 3 reloads refills at one per interval"
    )
    start_wait: float = _setting(
        parsers.span, "250ms", "how long nginx's start waits for the first answer of discovery"
    )
    start_timeout: float = _setting(
        parsers.positive_span,
        "10s",
        "for nginx to become ready, `nginx -t` to answer, a script to end",
    )
    verify_timeout: float = _setting(parsers.positive_span, "5s", "for a reload to be seen to work")
    health_check: str = _setting(
        parsers.one_of("tcp", "http", "nomad", "off", ""),
        "",
        "who is ready: `tcp` (accepts and stays open), `http`, `nomad` (its checks) or `off`",
        shown="`tcp`; `http` when `HEALTH_PATH` is set",
    )
    health_path: str = _setting(
        parsers.uri_path, "", "what `http` asks for with GET; `/` where only `http` is set"
    )
    health_status: tuple[tuple[int, int], ...] = _setting(
        parsers.statuses, "200-399", "answers that count as ready: `200`, `200-299,401`"
    )
    health_interval: float = _setting(
        parsers.positive_span, "5s", "between two probes of an endpoint that is ready"
    )
    health_timeout: float = _setting(parsers.positive_span, "2s", "for a probe, all of it")
    health_rise: int = _setting(
        parsers.whole(1, 100), "1", "probes in a row that must pass before an endpoint serves"
    )
    health_fall: int = _setting(
        parsers.whole(1, 100),
        "2",
        "probes in a row that must fail before it leaves; a refused connection counts double",
    )
    health_fail_open: bool = _setting(
        parsers.truth, "true", "when all fail: serve those that were ready once, instead of 503"
    )
    service_tags: tuple[str, ...] = _setting(
        parsers.tags, "", "only instances with all these tags", shown="all"
    )
    service_job: str = _setting(
        parsers.job, "", "only instances of this job: an ID, or `self`", shown="all"
    )
    max_endpoints: int = _setting(
        parsers.whole(1, 100_000), "10000", "endpoints served; the rest is counted and said"
    )
    lb_method: str = _setting(
        parsers.one_of(*METHODS),
        "least_conn",
        "`round_robin`, `least_conn`, `random`, `hash` (by `LB_HASH_KEY`) or `ip_hash`",
    )
    lb_hash_key: str = _setting(
        parsers.hash_key,
        "",
        "what `hash` goes by: `ip`, `uri`, `header:NAME` or `cookie:NAME`",
    )
    sticky: str = _setting(
        parsers.one_of("cookie", "off"),
        "off",
        "`cookie`: a client stays with its endpoint while that serves (nginx 1.29.6 or newer)",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        parsers.networks, "", "CIDRs whose `X-Forwarded-*` and `X-Request-ID` are believed"
    )
    max_body_size: int = _setting(
        parsers.size, "0", "largest request body; 0 = any, streamed instead of buffered"
    )
    connect_timeout: float = _setting(
        parsers.positive_span, "2s", "for a connection to an endpoint before the next one is tried"
    )
    request_timeout: float = _setting(
        parsers.positive_span, "1h", "how long a request may be silent, and may outlive a reload"
    )
    allow_networks: tuple[Network, ...] = _setting(
        parsers.networks, "", "CIDRs that endpoints may come from", shown="all but the refused"
    )
    access_log: str = _setting(
        parsers.one_of("off", "json"), "off", "`json`: one line of the log for each request"
    )
    max_draining: int = _setting(
        parsers.whole(1, 100),
        "8",
        "old worker generations kept at once: then additions wait, a removal ends the oldest",
    )
    sunset_header: bool = _setting(
        parsers.truth, "true", "tell the deadline with every answer (`Sunset`, RFC 8594)"
    )
    lame_duck: float = _setting(
        parsers.span, "0s", "before the deadline: READY_PATH answers 503 while requests still work"
    )
    max_ttl: float | None = _setting(
        parsers.ttl,
        "never",
        "no extension reaches beyond this long after the first start",
        shown="no bound",
    )
    warn_at: tuple[float, ...] = _setting(
        parsers.spans, "1h,15m,5m,1m", "so long before the deadline a warning is given; or `off`"
    )
    state_dir: str = _setting(
        parsers.path,
        "/var/lib/autoexit-nginx",
        "what must survive a restart",
        shown="`autoexit-nginx/$NOMAD_TASK_NAME` in `$NOMAD_ALLOC_DIR/data`, else in `/var/lib`",
    )
    runtime_dir: str = _setting(
        parsers.folder,
        "",
        "config, sockets and pid",
        shown="named after the port in `/run/autoexit-nginx`, `$NOMAD_TASK_DIR` or the temp folder",
    )
    operator_dir: str = _setting(
        parsers.folder,
        "/etc/nginx",
        "holds the operator's own `conf.d/*.conf` and `server.d/*.conf`",
    )
    entrypoint_dir: str = _setting(
        parsers.folder,
        "/docker-entrypoint.d",
        "holds the operator's own scripts, `*.sh`, run before the first start of nginx",
    )
    nginx_binary: str = _setting(parsers.path, "nginx", "the nginx to run, a name or a path")
    log_level: str = _setting(
        parsers.one_of("debug", "info", "warning", "error"),
        "info",
        "least severe line that is logged",
    )
    log_format: str = _setting(
        parsers.one_of("json", "console", ""),
        "",
        "`json` or `console`",
        shown="`json`; `console` on a tty",
    )
    nomad_addr: str = _setting(
        parsers.nomad_address,
        "http://127.0.0.1:4646",
        "where Nomad answers",
        shown="`NOMAD_UNIX_ADDR`, else `$NOMAD_SECRETS_DIR/api.sock`, else `http://127.0.0.1:4646`",
    )
    nomad_cacert: str = _setting(
        parsers.path, "", "file with the authorities that may vouch for an https:// address"
    )
    nomad_capath: str = _setting(parsers.path, "", "the same, a hashed folder")
    nomad_client_cert: str = _setting(
        parsers.path, "", "file with our certificate, where Nomad wants one"
    )
    nomad_client_key: str = _setting(parsers.path, "", "file with its key")
    nomad_tls_server_name: str = _setting(
        parsers.host_name,
        "",
        "name in Nomad's certificate, such as `server.global.nomad`",
        shown="the address's own",
    )
    nomad_skip_verify: bool = _setting(
        parsers.truth, "false", "believe any certificate: only for a try"
    )
    nomad_token: str = _setting(parsers.plain, "", "token, where no file holds one")
    nomad_token_file: str = _setting(
        parsers.path,
        "",
        "file with the token, read again for each query",
        shown="`$NOMAD_SECRETS_DIR/nomad_token`",
    )
    nomad_namespace: str = _setting(
        parsers.namespace, "default", "namespace of the service, and of our own job"
    )
    nomad_region: str = _setting(
        parsers.plain, "", "region of the service", shown="the agent's own"
    )
    nomad_alloc_id: str = _setting(parsers.plain, "", "set by Nomad: the allocation around us")
    nomad_job_id: str = _setting(parsers.job, "", "set by Nomad: the job around us")
    task_environment: TaskEnvironment = field(default=TaskEnvironment())

    @property
    def stops_job(self) -> bool:
        """
        Whether the whole job is to end at the deadline, and not this task alone.
        """
        return self.at_deadline == "stop-job"

    @property
    def served(self) -> str:
        """
        What is load-balanced, as the settings name it: services, endpoints or a file.
        """
        if self.endpoints_file:
            return self.endpoints_file
        return ",".join(self.service_name) or ",".join(
            f"{site.host}:{site.port}" for site in self.endpoints
        )

    @property
    def address_policy(self) -> AddressPolicy:
        """
        Which addresses may become endpoints, given where this one runs.
        """
        return AddressPolicy(
            self.allow_networks,
            loopback=self.task_environment.loopback,
            own=self.task_environment.own,
            own_loopback=self.task_environment.own_loopback,
        )
