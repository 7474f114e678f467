"""
The table of settings, one field for each.

A field's metadata holds its parser, its default as text, and its meaning; the variable is the
field's name in capitals.
"""

from collections.abc import Callable
from dataclasses import field
from typing import Any

from supervisor.core.addresses import AddressPolicy, HostPort, Network
from supervisor.core.balancing_methods import METHODS
from supervisor.core.config import parsers
from supervisor.core.config.instance import Instance
from supervisor.core.config.nomad_env import TaskEnvironment
from supervisor.core.job_deadline import variable_path
from supervisor.core.values import value_class


def _setting(read: Callable[[str], object], default: str, meaning: str, *, shown: str = "") -> Any:  # noqa: ANN401 - a field of any type
    return field(metadata={"read": read, "default": default, "meaning": meaning, "shown": shown})


@value_class(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    The parsed values of all settings: durations in seconds, sizes in bytes, instants in epoch.
    """

    service_name: tuple[str, ...] = _setting(
        parsers.services,
        "",
        "Nomad service, or several separated by commas; their instances form one upstream",
    )
    endpoints: tuple[HostPort, ...] = _setting(
        parsers.host_ports,
        "",
        "static `host:port,...`, without Nomad; the supervisor resolves host names",
    )
    endpoints_file: str = _setting(
        parsers.path,
        "",
        "file with one `host:port` per line; re-read when it changes and at SIGHUP",
    )
    ttl: float | None = _setting(
        parsers.ttl,
        "24h",
        "lifetime: `90`, `1.5h`, `1h30m`, `7d`; `0` or `never` = no limit",
    )
    deadline: float | None = _setting(
        parsers.instant, "", "absolute deadline, RFC 3339 or epoch seconds; overrides TTL"
    )
    listen_port: int = _setting(
        parsers.whole(1, 65535),
        "8080",
        "public port",
        shown="`NOMAD_PORT_http`, else the group's only port, else `8080`",
    )
    listen_address: tuple[str, ...] = _setting(
        parsers.addresses, "", "addresses to listen on", shown="all, IPv6 if available"
    )
    ready_path: str = _setting(
        parsers.ready_path,
        "/-/ready",
        "path on the public port: 200 while serving, else 503; `off` disables it",
    )
    at_deadline: str = _setting(
        parsers.one_of("exit", "stop-job"),
        "exit",
        "`exit`, or `stop-job`: request Nomad to stop the job, serve until it does (60s at most)",
    )
    idle_timeout: float | None = _setting(
        parsers.ttl,
        "off",
        "end as at the deadline when no client has sent a request for this long, such as `2h`;"
        " or `off`",
    )
    admin_port: int | None = _setting(
        parsers.port_or_off,
        "off",
        "port of read-only health, metrics and status, without login: see docs/operating.md",
        shown="`NOMAD_PORT_admin`, else `off`",
    )
    drain_timeout: float = _setting(
        parsers.span, "30s", "total time for open requests to finish after the deadline"
    )
    stop_timeout: float = _setting(
        parsers.span,
        "4s",
        "the same after a stop signal; must be less than Nomad's kill_timeout (5s)",
    )
    reload_quiet: float = _setting(
        parsers.span, "10ms", "delay from the first change of a burst to its reload"
    )
    reload_interval: float = _setting(
        parsers.positive_span, "1s", "rate limit: a bucket of 3 reloads refills by one per interval"
    )
    start_wait: float = _setting(
        parsers.span, "250ms", "how long the start of nginx waits for the first discovery result"
    )
    start_timeout: float = _setting(
        parsers.positive_span,
        "10s",
        "time limit for nginx to become ready, for `nginx -t`, and for each entrypoint script",
    )
    verify_timeout: float = _setting(
        parsers.positive_span, "5s", "how long to wait for a reload to take effect"
    )
    health_check: str = _setting(
        parsers.one_of("tcp", "http", "nomad", "off", ""),
        "",
        "readiness check: `tcp` (accepts and stays open), `http`, `nomad` (its checks) or `off`",
        shown="`tcp`; `http` if `HEALTH_PATH` is set",
    )
    health_path: str = _setting(
        parsers.uri_path,
        "",
        "path that `http` requests with GET; `/` if `HEALTH_CHECK=http` is set without it",
    )
    health_host: str = _setting(
        parsers.host_header,
        "",
        "Host header that `http` sends, for servers that allow only some hosts",
        shown="the endpoint's address and port",
    )
    health_status: tuple[tuple[int, int], ...] = _setting(
        parsers.statuses, "200-399", "statuses that count as ready, such as `200` or `200-299,401`"
    )
    health_interval: float = _setting(
        parsers.positive_span, "5s", "time between two probes of a ready endpoint"
    )
    health_timeout: float = _setting(parsers.positive_span, "2s", "total time limit of a probe")
    health_rise: int = _setting(
        parsers.whole(1, 100), "1", "consecutive probes that must pass before an endpoint serves"
    )
    health_fall: int = _setting(
        parsers.whole(1, 100),
        "2",
        "consecutive probes that must fail to remove it; a refused connection counts twice",
    )
    health_fail_open: bool = _setting(
        parsers.truth,
        "true",
        "if all endpoints fail: serve those that have been ready once, instead of 503",
    )
    service_tags: tuple[str, ...] = _setting(
        parsers.tags, "", "serve only instances with all these tags", shown="all"
    )
    service_job: str = _setting(
        parsers.job, "", "serve only instances of this job: an ID, or `self`", shown="all"
    )
    max_endpoints: int = _setting(
        parsers.whole(1, 100_000), "10000", "maximum endpoints; extra ones are ignored and reported"
    )
    lb_method: str = _setting(
        parsers.one_of(*METHODS),
        "least_conn",
        f"one of {', '.join(f'`{name}`' for name in METHODS)}; `hash` needs `LB_HASH_KEY`",
    )
    lb_hash_key: str = _setting(
        parsers.hash_key,
        "",
        "key of `hash`: `ip`, `uri`, `header:NAME` or `cookie:NAME`",
    )
    sticky: str = _setting(
        parsers.one_of("cookie", "off"),
        "off",
        "`cookie`: a client keeps its endpoint while that is served (nginx 1.29.6 or newer)",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        parsers.networks, "", "CIDRs from which `X-Forwarded-*` and `X-Request-ID` are accepted"
    )
    underscore_headers: bool = _setting(
        parsers.truth,
        "false",
        "pass request headers with underscores in their names, such as `api_key`, to replicas",
    )
    max_body_size: int = _setting(
        parsers.size, "0", "largest request body; `0` = no limit; bodies are streamed, not buffered"
    )
    retry_post: bool = _setting(
        parsers.truth,
        "false",
        "if a replica breaks the connection before it responds, repeat a POST once on another one:"
        " it may run twice; bodies are buffered",
    )
    connect_timeout: float = _setting(
        parsers.positive_span,
        "2s",
        "time limit to connect to an endpoint before the next one is tried",
    )
    request_timeout: float = _setting(
        parsers.positive_span,
        "1h",
        "how long a request may be idle, and how long it may outlive a reload",
    )
    allow_networks: tuple[Network, ...] = _setting(
        parsers.networks, "", "CIDRs that endpoints must be in", shown="all but refused addresses"
    )
    access_log: str = _setting(
        parsers.one_of("off", "json"), "off", "`json`: one log line per request"
    )
    max_draining: int = _setting(
        parsers.whole(1, 100),
        "8",
        "maximum old worker generations; beyond it additions wait, a removal ends the oldest",
    )
    sunset_header: bool = _setting(
        parsers.truth, "true", "send the deadline in every response (`Sunset`, RFC 8594)"
    )
    lame_duck: float = _setting(
        parsers.span,
        "0s",
        "time before the deadline in which READY_PATH returns 503 while requests are served",
    )
    max_ttl: float | None = _setting(
        parsers.ttl,
        "never",
        "maximum time from the first start to an extended deadline",
        shown="no limit",
    )
    warn_at: tuple[float, ...] = _setting(
        parsers.spans,
        "1h,15m,5m,1m",
        "durations before the deadline at which a warning is logged; or `off`",
    )
    state_dir: str = _setting(
        parsers.path,
        "/var/lib/autoexit-nginx/8080",
        "directory of what must survive a restart",
        shown="`autoexit-nginx/$NOMAD_TASK_NAME` in `$NOMAD_ALLOC_DIR/data`,"
        " else named after the port in `/var/lib/autoexit-nginx`",
    )
    runtime_dir: str = _setting(
        parsers.folder,
        "",
        "directory of config, sockets and pid file",
        shown="named after the port in `/run/autoexit-nginx`, `$NOMAD_TASK_DIR` or the temp folder",
    )
    operator_dir: str = _setting(
        parsers.folder,
        "/etc/nginx",
        "directory of the operator's `conf.d/*.conf` and `server.d/*.conf`",
    )
    entrypoint_dir: str = _setting(
        parsers.folder,
        "/docker-entrypoint.d",
        "directory of the operator's `*.sh` scripts, run before the first start of nginx",
    )
    nginx_binary: str = _setting(parsers.path, "nginx", "nginx binary, a name or a path")
    log_level: str = _setting(
        parsers.one_of("debug", "info", "warning", "error"),
        "info",
        "lowest severity that is logged",
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
        "address of Nomad's API",
        shown="`NOMAD_UNIX_ADDR`, else `$NOMAD_SECRETS_DIR/api.sock`, else `http://127.0.0.1:4646`",
    )
    nomad_cacert: str = _setting(
        parsers.path, "", "file with the CA certificates for an `https://` address"
    )
    nomad_capath: str = _setting(
        parsers.path, "", "directory of CA certificates, with hashed names"
    )
    nomad_client_cert: str = _setting(
        parsers.path, "", "file with the client certificate, if Nomad requires one"
    )
    nomad_client_key: str = _setting(
        parsers.path, "", "file with the key of the client certificate"
    )
    nomad_tls_server_name: str = _setting(
        parsers.host_name,
        "",
        "name in Nomad's certificate, such as `server.global.nomad`",
        shown="the host of `NOMAD_ADDR`",
    )
    nomad_skip_verify: bool = _setting(
        parsers.truth, "false", "accept any certificate: for tests only"
    )
    nomad_token: str = _setting(parsers.plain, "", "token, if there is no token file")
    nomad_token_file: str = _setting(
        parsers.path,
        "",
        "file with the token, read again for each query",
        shown="`$NOMAD_SECRETS_DIR/nomad_token`",
    )
    nomad_namespace: str = _setting(
        parsers.namespace, "default", "namespace of the service and of the supervisor's job"
    )
    nomad_region: str = _setting(parsers.plain, "", "region of the service", shown="the agent's")
    nomad_alloc_id: str = _setting(parsers.plain, "", "set by Nomad: the supervisor's allocation")
    nomad_job_id: str = _setting(parsers.job, "", "set by Nomad: the supervisor's job")
    task_environment: TaskEnvironment = field(default=TaskEnvironment())
    instance: Instance = field(default=Instance())

    @property
    def stops_job(self) -> bool:
        """
        Whether the whole job is stopped at the deadline, not only this task.
        """
        return self.at_deadline == "stop-job"

    @property
    def job_variable(self) -> str:
        """
        The path of the variable that moves the deadline of the whole job, empty without one.

        It needs an address of Nomad, and a token for the Task API, which always requires one.
        """
        has_token = bool(self.nomad_token or self.nomad_token_file)
        can_ask = self.task_environment.has_nomad and (
            has_token or not self.nomad_addr.startswith("unix:")
        )
        return variable_path(self.nomad_job_id) if can_ask else ""

    @property
    def served(self) -> str:
        """
        The configured source of endpoints: services, endpoints or a file.
        """
        if self.endpoints_file:
            return self.endpoints_file
        return ",".join(self.service_name) or ",".join(
            f"{endpoint.host}:{endpoint.port}" for endpoint in self.endpoints
        )

    @property
    def title(self) -> str:
        """
        A name for people: the services, else the job, else what lists the endpoints.
        """
        listed = f"{len(self.endpoints)} listed endpoint{'s'[: len(self.endpoints) != 1]}"
        file = self.endpoints_file.rpartition("/")[2]
        return ", ".join(self.service_name) or self.instance.job or file or listed

    @property
    def address_policy(self) -> AddressPolicy:
        """
        Which addresses may become endpoints, given the task's environment.
        """
        return AddressPolicy(
            self.allow_networks,
            loopback=self.task_environment.loopback,
            own=self.task_environment.own,
            own_loopback=self.task_environment.own_loopback,
        )
