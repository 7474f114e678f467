"""
From a plan to the bytes that nginx reads.

Pure: what depends on the machine or on nginx's version comes in as a `Frame`.  The generation is a
hash of every byte, the operator's files included, and the number of the attempt; it stands in the
rendered files, so that nginx itself can say what it serves.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import jinja2

from supervisor import __version__
from supervisor.model import Endpoint, Plan
from supervisor.settings import Settings

#: First version with keepalive_min_timeout: a reload then loses no request on a kept connection.
_KEEPALIVE_MIN = (1, 27, 4)

#: Shared memory per server, twice what was measured to be the least nginx accepts, and the floor.
_ZONE_PER_SERVER = 2
_ZONE_LEAST = 256

_METHODS = {
    "round_robin": "",
    "least_conn": "least_conn",
    "random": "random two least_conn",
    "ip_hash": "ip_hash",
}

#: Stands for the generation until the hash of the bytes around it is known.
_PENDING = "generation-pending"


@dataclass(frozen=True, slots=True)
class Frame:
    """
    Everything in the configuration that stays the same between reloads.

    `listen` holds the addresses as nginx's directive takes them; `user` is empty where nginx's
    workers run as we do.
    """

    settings: Settings
    nginx: tuple[int, ...]
    folder: str
    workers: int
    open_files: int
    connections: int
    listen: tuple[str, ...]
    user: str = ""


@dataclass(frozen=True, slots=True)
class Bundle:
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

    def __init__(self, frame: Frame, templates: Mapping[str, str]) -> None:
        self._frame = frame
        environment = jinja2.Environment(
            loader=jinja2.DictLoader(dict(templates)),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # noqa: S701 - no HTML; what goes in is parsed, never escaped
        )
        self._main = environment.get_template("nginx.conf.j2")
        self._upstream = environment.get_template("upstream.conf.j2")
        self._static = self._main.render(_values(frame)).encode()

    def bundle(self, plan: Plan, attempt: int, turn: int, operator: Mapping[str, bytes]) -> Bundle:
        """
        Render a plan; `turn` rotates the order of servers, `operator` holds the included files.

        Reloading resets nginx's counters, so without rotation the last servers would starve.
        """
        values = {
            "plan": plan,
            "endpoints": rotated(plan.endpoints, turn),
            "zone": max(_ZONE_LEAST, _ZONE_PER_SERVER * len(plan.endpoints)),
            "method": _METHODS[self._frame.settings.lb_method],
            "listen": self._frame.listen,
            "ready_path": self._frame.settings.ready_path,
            "folder": self._frame.folder,
            "generation": _PENDING,
        }
        draft = self._upstream.render(values).encode()
        files = {"nginx.conf": self._static, "upstream.conf": draft, **operator}
        digest = digest_of(files)
        generation = f"{digest}-{attempt}"
        files["upstream.conf"] = draft.replace(_PENDING.encode(), generation.encode())
        return Bundle(files, digest, generation)


def digest_of(files: Mapping[str, bytes]) -> str:
    """
    Hash the files: 12 hex digits over names and bytes.
    """
    hashed = hashlib.sha256()
    for name in sorted(files):
        hashed.update(f"{name}\0{len(files[name])}\0".encode(errors="surrogateescape"))
        hashed.update(files[name])
    return hashed.hexdigest()[:12]


def rotated(endpoints: tuple[Endpoint, ...], turn: int) -> tuple[Endpoint, ...]:
    """
    Begin the list somewhere else each turn.
    """
    start = turn % len(endpoints) if endpoints else 0
    return endpoints[start:] + endpoints[:start]


def _values(frame: Frame) -> dict[str, object]:
    settings = frame.settings
    return {
        "version": __version__,
        "folder": frame.folder,
        "user": frame.user,
        "workers": frame.workers,
        "open_files": frame.open_files,
        "connections": frame.connections,
        "max_body_size": settings.max_body_size,
        "connect_timeout": _milliseconds(settings.connect_timeout),
        "request_timeout": _milliseconds(settings.request_timeout),
        "keepalive_min_timeout": frame.nginx >= _KEEPALIVE_MIN,
    }


def _milliseconds(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
