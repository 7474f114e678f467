"""
Render nginx's configuration from a plan.

Pure: a `RenderContext` holds everything that depends on the host or on nginx's version.  The
generation is a hash of every byte, the operator's files included, and the number of the attempt; it
is part of the rendered files, so that nginx reports the generation that it serves.

nginx accepts the result for every plan.
"""

import hashlib
import json
from collections.abc import Mapping

import jinja2
import jinja2.bccache

from supervisor import __version__
from supervisor.core.balancing_methods import METHODS
from supervisor.core.config.settings import Settings
from supervisor.core.durations import format_http_date, format_instant
from supervisor.core.model import Mode, Plan
from supervisor.core.values import value_class
from supervisor.nginx.client_headers import CLAIMS, REPLACED, lookalikes
from supervisor.nginx.socket_names import CURRENT_LINK, current_socket, generation_socket
from supervisor.nginx.upstream import server_lines

#: First version with keepalive_min_timeout: a reload then loses no request on a kept connection.
_KEEPALIVE_MIN = (1, 27, 4)

#: Shared memory in KiB: per server, twice the measured minimum that nginx accepts; and at least.
_ZONE_PER_SERVER = 2
_ZONE_MIN = 256

#: First version that keeps connections to servers by default.
_KEEPS_BY_DEFAULT = (1, 29, 7)

#: First version with $request_port and $is_request_port.
_REQUEST_PORT = (1, 29, 3)

#: First version with `sticky`.
_STICKY = (1, 29, 6)

#: Value of Retry-After in seconds: a start is about to complete, other states last longer.
_RETRY_AFTER = {Mode.STARTING: 1}
_DEFAULT_RETRY_AFTER = 5

#: Seconds until the page reloads, in every state: time to read it.
_PAGE_REFRESH = 5

#: Placeholders of the generation and its socket until the hash of the files is computed.
_PENDING = "generation-pending"
_PENDING_SOCKET = "socket-pending"


@value_class(frozen=True, slots=True)
class RenderContext:
    """
    The part of the configuration that does not change between reloads.

    `listen` and `admin_listen` hold arguments of nginx's `listen`; without an admin port the latter
    is empty.  `user` is empty when nginx's workers keep our user.  `stub_status` is whether nginx
    counts its connections, `is_musl` whether its C library is musl.  `run` is the part of socket
    names that differs between runs.
    """

    settings: Settings
    nginx: tuple[int, ...]
    folder: str
    workers: int
    open_files: int
    connections: int
    listen: tuple[str, ...]
    user: str = ""
    admin_listen: tuple[str, ...] = ()
    stub_status: bool = False
    is_musl: bool = False
    run: str = "0"


@value_class(frozen=True, slots=True)
class RenderedConfig:
    """
    The files of one configuration by path below its folder, their hash and their generation.

    The sockets are names in the runtime folder; an nginx that does not pass requests on from
    earlier generations has no `current_socket`.  `reuseport`: see `core.events.Staged`.
    """

    files: Mapping[str, bytes]
    digest: str
    generation: str
    generation_socket: str
    current_socket: str
    reuseport: bool = False


class Compiled(jinja2.BytecodeCache):
    """
    Compiled templates by the engine's key, and those that had to be compiled now.

    Compiling takes 20 ms and 1 MB.  The engine uses what fits the template's text, the version of
    Python and its own, and compiles the others.
    """

    def __init__(self, known: Mapping[str, bytes]) -> None:
        self._known = known
        self.new: dict[str, bytes] = {}

    def load_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        """Fill the bucket of a template; what is damaged is compiled again."""
        try:
            bucket.bytecode_from_string(self._known[bucket.key])
        except Exception:  # noqa: BLE001 - unpickling may raise anything
            bucket.reset()

    def dump_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        """Keep what was compiled now."""
        self.new[bucket.key] = bucket.bytecode_to_string()


def template_environment(
    templates: Mapping[str, str], compiled: Compiled | None
) -> jinja2.Environment:
    """
    Return the environment of the templates.
    """
    return jinja2.Environment(
        loader=jinja2.DictLoader(dict(templates)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - not HTML; every value is parsed before, none is escaped
        bytecode_cache=compiled,
    )


class Renderer:
    """
    Renders plans with templates that are compiled once.
    """

    def __init__(
        self,
        context: RenderContext,
        templates: Mapping[str, str],
        compiled: Compiled | None = None,
    ) -> None:
        self._context = context
        environment = template_environment(templates, compiled)
        self._main = environment.get_template("nginx.conf.j2")
        self._upstream = environment.get_template("upstream.conf.j2")
        self._page = environment.get_template("unavailable.html.j2")
        values = _static_values(context)
        self._static = {"nginx.conf": _bytes(self._main.render(values))}
        if context.admin_listen:
            admin = environment.get_template("admin.conf.j2")
            self._static["admin.conf"] = _bytes(admin.render(values))

    @property
    def public_listen(self) -> tuple[str, ...]:
        """The arguments of the public port's `listen` directives."""
        return self._context.listen

    @property
    def listen(self) -> tuple[str, ...]:
        """The arguments of all `listen` directives of TCP ports."""
        return (*self._context.listen, *self._context.admin_listen)

    def render(
        self,
        plan: Plan,
        attempt: int,
        rotation: int,
        operator: Mapping[str, bytes],
        listener: int = 1,
    ) -> RenderedConfig:
        """
        Render a plan; `rotation` rotates the servers, `operator` holds the operator's files.

        `listener` is the number of the socket for requests from earlier generations.

        A reload resets nginx's counters; without rotation the last servers would get no requests.
        """
        settings, run = self._context.settings, self._context.run
        passes_on = self._context.nginx >= _KEEPALIVE_MIN
        current = current_socket(run, listener) if passes_on else ""
        sunset = None if plan.sunset is None else format_http_date(plan.sunset)
        values = {
            "plan": plan,
            "servers": server_lines(plan, rotation, settings.lb_method),
            "zone": max(_ZONE_MIN, _ZONE_PER_SERVER * len(plan.endpoints)),
            "method": METHODS[settings.lb_method].directive.format(
                key=_hash_key(settings.lb_hash_key)
            ),
            "retry_post": settings.retry_post,
            "buffers_bodies": _buffers_bodies(settings),
            "keeps_by_default": self._context.nginx >= _KEEPS_BY_DEFAULT,
            "sticky": settings.sticky == "cookie",
            "listen": self._context.listen,
            "ready_path": settings.ready_path,
            "idle_timeout": settings.idle_timeout,
            "is_ready": bool(plan.endpoints) and plan.mode is Mode.SERVE,
            "sunset": sunset if settings.sunset_header else None,
            "folder": _escaped(self._context.folder),
            "keepalive_min_timeout": passes_on,
            "current_socket": current,
            "generation": _PENDING,
            "generation_socket": _PENDING_SOCKET,
            "stub_status": self._context.stub_status,
        }
        if not plan.endpoints:
            values |= self._unavailable(plan, sunset)
        upstream = _bytes(self._upstream.render(values))
        files = {**self._static, "upstream.conf": upstream, **operator}
        digest = digest_of(files)
        generation = f"{digest}-{attempt}"
        socket = generation_socket(run, attempt)
        for pending, value in ((_PENDING, generation), (_PENDING_SOCKET, socket)):
            upstream = upstream.replace(pending.encode(), value.encode())
        files["upstream.conf"] = upstream
        reuseport = any(b"reuseport" in content for content in operator.values())
        return RenderedConfig(files, digest, generation, socket, current, reuseport)

    def _unavailable(self, plan: Plan, sunset: str | None) -> dict[str, object]:
        """Return the values of the 503 response: JSON for programs, a page for browsers."""
        expires_at = None if plan.sunset is None else format_instant(plan.sunset)
        body = json.dumps({"state": plan.mode, "expires_at": expires_at})
        page = self._page.render(
            state=plan.mode, expires_at=expires_at, until=sunset, reload=_PAGE_REFRESH
        )
        return {
            "retry_after": _RETRY_AFTER.get(plan.mode, _DEFAULT_RETRY_AFTER),
            "refusal": _escaped(body),
            "page": _escaped(page),
        }


def unsupported(settings: Settings, nginx: tuple[int, ...]) -> list[str]:
    """
    Return an error for each setting that this version of nginx does not support.
    """
    if settings.sticky == "cookie" and nginx < _STICKY:
        since, have = (".".join(map(str, version)) for version in (_STICKY, nginx))
        instead = "use LB_METHOD=hash with LB_HASH_KEY=cookie:NAME, or ip_hash"
        return [f"STICKY='cookie': needs nginx {since} or newer, this is {have}; {instead}"]
    return []


def digest_of(files: Mapping[str, bytes]) -> str:
    """
    Return 12 hex digits of a hash over the names and bytes of the files.
    """
    hashed = hashlib.sha256()
    for name in sorted(files):
        hashed.update(f"{name}\0{len(files[name])}\0".encode(errors="surrogateescape"))
        hashed.update(files[name])
    return hashed.hexdigest()[:12]


def _hash_key(text: str) -> str:
    """Return nginx's variable for LB_HASH_KEY; requests without a value go to any server."""
    kind, _, name = text.partition(":")
    if kind == "header":
        return f"$http_{name.lower().replace('-', '_')}"
    return {"ip": "$remote_addr", "uri": "$request_uri"}.get(kind, f"$cookie_{name}")


def _bytes(text: str) -> bytes:
    """Encode a file; the name of a folder may hold bytes that are not UTF-8."""
    return text.encode(errors="surrogateescape")


def _escaped(text: str) -> str:
    """Escape text for single quotes in nginx's configuration; it must not contain `$`."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _static_values(context: RenderContext) -> dict[str, object]:
    settings = context.settings
    return {
        "version": __version__,
        "folder": _escaped(context.folder),
        "current_link": CURRENT_LINK,
        "user": context.user,
        "admin_listen": context.admin_listen,
        "is_musl": context.is_musl,
        "workers": context.workers,
        "open_files": context.open_files,
        "connections": context.connections,
        "max_body_size": settings.max_body_size,
        "retry_post": settings.retry_post,
        "buffers_bodies": _buffers_bodies(settings),
        "connect_timeout": _milliseconds(settings.connect_timeout),
        "request_timeout": _milliseconds(settings.request_timeout),
        "keepalive_min_timeout": context.nginx >= _KEEPALIVE_MIN,
        "has_request_port": context.nginx >= _REQUEST_PORT,
        "proxied_host": "$host$is_request_port$request_port"
        if context.nginx >= _REQUEST_PORT
        else "$proxied_host",
        "host_port": "$request_port" if context.nginx >= _REQUEST_PORT else "$host_port",
        "trusted_proxies": settings.trusted_proxies,
        "replaced_headers": REPLACED,
        "claims": CLAIMS,
        "underscore_headers": settings.underscore_headers,
        "lookalikes": lookalikes(),
        "access_log": settings.access_log == "json",
        "idle_timeout": settings.idle_timeout,
        "ready_path": settings.ready_path,
        "request_id": "$proxied_request_id" if settings.trusted_proxies else "$request_id",
    }


def _buffers_bodies(settings: Settings) -> bool:
    """
    Return whether nginx receives a whole request before it sends it to a replica.
    """
    return bool(settings.max_body_size) or settings.retry_post


def _milliseconds(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
