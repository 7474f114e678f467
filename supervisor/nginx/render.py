"""
From a plan to the bytes that nginx reads.

Pure: what depends on the machine or on nginx's version comes in as a `RenderContext`.  The generation is a
hash of every byte, the operator's files included, and the number of the attempt; it stands in the
rendered files, so that nginx itself can say what it serves.

Whatever the plan asks for, what comes out is something that nginx accepts.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import jinja2

from supervisor import __version__
from supervisor.core.balancing_methods import METHODS
from supervisor.core.config.settings import Settings
from supervisor.core.durations import format_http_date, format_instant
from supervisor.core.model import Mode, Plan
from supervisor.nginx.upstream import server_lines

#: First version with keepalive_min_timeout: a reload then loses no request on a kept connection.
_KEEPALIVE_MIN = (1, 27, 4)

#: Shared memory per server, twice what was measured to be the least nginx accepts, and the floor.
_ZONE_PER_SERVER = 2
_ZONE_LEAST = 256

#: First version with `sticky`.
_STICKY = (1, 29, 6)

#: Seconds until a client should ask again: what starts is ready any moment, the rest takes longer.
_RETRY_AFTER = {Mode.STARTING: 1}
_RETRY_LATER = 5

#: Seconds until the page asks again: a person reads it meanwhile, in whatever state.
_RELOAD_PAGE = 5

#: Stands for the generation until the hash of the bytes around it is known.
_PENDING = "generation-pending"


@dataclass(frozen=True, slots=True)
class RenderContext:
    """
    Everything in the configuration that stays the same between reloads.

    `listen` and `admin_listen` hold addresses as nginx's directive takes them, the latter none
    where there is no such port; `user` is empty where nginx's workers run as we do; `stub_status`
    tells whether nginx counts its connections.
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


@dataclass(frozen=True, slots=True)
class RenderedConfig:
    """
    The files of one configuration, by path below its folder.
    """

    files: Mapping[str, bytes]
    digest: str
    generation: str


class Renderer:
    """
    The templates, compiled once.
    """

    def __init__(self, context: RenderContext, templates: Mapping[str, str]) -> None:
        self._frame = context
        environment = jinja2.Environment(
            loader=jinja2.DictLoader(dict(templates)),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # noqa: S701 - no HTML; what goes in is parsed, never escaped
        )
        self._main = environment.get_template("nginx.conf.j2")
        self._upstream = environment.get_template("upstream.conf.j2")
        self._page = environment.get_template("unavailable.html.j2")
        values = _values(context)
        self._static = {"nginx.conf": _bytes(self._main.render(values))}
        if context.admin_listen:
            admin = environment.get_template("admin.conf.j2")
            self._static["admin.conf"] = _bytes(admin.render(values))

    def bundle(
        self, plan: Plan, attempt: int, rotation: int, operator: Mapping[str, bytes]
    ) -> RenderedConfig:
        """
        Render a plan; `rotation` rotates the order of servers, `operator` holds the included files.

        Reloading resets nginx's counters, so without rotation the last servers would starve.
        """
        settings = self._frame.settings
        until = None if plan.sunset is None else format_http_date(plan.sunset)
        values = {
            "plan": plan,
            "servers": server_lines(plan, rotation, settings.lb_method),
            "zone": max(_ZONE_LEAST, _ZONE_PER_SERVER * len(plan.endpoints)),
            "method": METHODS[settings.lb_method].directive.format(
                key=_hash_key(settings.lb_hash_key)
            ),
            "sticky": settings.sticky == "cookie",
            "listen": self._frame.listen,
            "ready_path": settings.ready_path,
            "is_ready": bool(plan.endpoints) and plan.mode is Mode.SERVE,
            "sunset": until if settings.sunset_header else None,
            "folder": _escaped(self._frame.folder),
            "keepalive_min_timeout": self._frame.nginx >= _KEEPALIVE_MIN,
            "generation": _PENDING,
            "stub_status": self._frame.stub_status,
        }
        if not plan.endpoints:
            values |= self._refusal(plan, until)
        draft = _bytes(self._upstream.render(values))
        files = {**self._static, "upstream.conf": draft, **operator}
        digest = digest_of(files)
        generation = f"{digest}-{attempt}"
        files["upstream.conf"] = draft.replace(_PENDING.encode(), generation.encode())
        return RenderedConfig(files, digest, generation)

    def _refusal(self, plan: Plan, until: str | None) -> dict[str, object]:
        """Put into words that nobody serves: for a program, and for a person."""
        expires_at = None if plan.sunset is None else format_instant(plan.sunset)
        body = json.dumps({"state": plan.mode, "expires_at": expires_at})
        page = self._page.render(
            state=plan.mode, expires_at=expires_at, until=until, reload=_RELOAD_PAGE
        )
        return {
            "retry_after": _RETRY_AFTER.get(plan.mode, _RETRY_LATER),
            "refusal": _escaped(body),
            "page": _escaped(page),
        }


def unsupported(settings: Settings, nginx: tuple[int, ...]) -> list[str]:
    """
    Find what is asked for that this nginx cannot do.
    """
    if settings.sticky == "cookie" and nginx < _STICKY:
        since, have = (".".join(map(str, version)) for version in (_STICKY, nginx))
        instead = "LB_METHOD=hash with LB_HASH_KEY=cookie:NAME, or ip_hash, is the older way"
        return [f"STICKY='cookie': nginx {since} or newer can do that, this is {have}; {instead}"]
    return []


def digest_of(files: Mapping[str, bytes]) -> str:
    """
    Hash the files: 12 hex digits over names and bytes.
    """
    hashed = hashlib.sha256()
    for name in sorted(files):
        hashed.update(f"{name}\0{len(files[name])}\0".encode(errors="surrogateescape"))
        hashed.update(files[name])
    return hashed.hexdigest()[:12]


def _hash_key(text: str) -> str:
    """Return nginx's variable for what requests are told apart by; an empty one means any order."""
    kind, _, name = text.partition(":")
    if kind == "header":
        return f"$http_{name.lower().replace('-', '_')}"
    return {"ip": "$remote_addr", "uri": "$request_uri"}.get(kind, f"$cookie_{name}")


def _bytes(text: str) -> bytes:
    """Encode a file; the name of a folder may hold bytes that are no text."""
    return text.encode(errors="surrogateescape")


def _escaped(text: str) -> str:
    """Write text so that nginx reads it as it is, between single quotes and without a `$`."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _values(context: RenderContext) -> dict[str, object]:
    settings = context.settings
    return {
        "version": __version__,
        "folder": _escaped(context.folder),
        "user": context.user,
        "admin_listen": context.admin_listen,
        "workers": context.workers,
        "open_files": context.open_files,
        "connections": context.connections,
        "max_body_size": settings.max_body_size,
        "connect_timeout": _milliseconds(settings.connect_timeout),
        "request_timeout": _milliseconds(settings.request_timeout),
        "keepalive_min_timeout": context.nginx >= _KEEPALIVE_MIN,
        "trusted_proxies": settings.trusted_proxies,
        "access_log": settings.access_log == "json",
        "request_id": "$proxied_request_id" if settings.trusted_proxies else "$request_id",
    }


def _milliseconds(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
