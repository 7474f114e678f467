"""
The workplace: a folder that is ours alone, and what makes configurations for it.

A start and a check need the same, so that what the one accepts the other serves.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from supervisor import machine, shipped
from supervisor.errors import ExitCode, Problem
from supervisor.files.operator import read_operator_files
from supervisor.nginx import Binary
from supervisor.render import Frame, Renderer, beyond
from supervisor.settings import Settings
from supervisor.whereabouts import runtime_candidates


def claim_runtime(environ: Mapping[str, str]) -> Path:
    """
    Find the folder for config and sockets and claim it.  Raises Problem with what was tried.
    """
    candidates = runtime_candidates(environ)
    folder, troubles = machine.runtime_folder(candidates)
    if folder is None:
        raise Problem(
            ExitCode.CONFIG,
            f"cannot write to any RUNTIME_DIR ({'; '.join(troubles)}):"
            f" mount a tmpfs at {Path(candidates[0]).parent}; giving up",
        )
    if machine.lock(folder) is None:
        raise Problem(
            ExitCode.CONFIG, f"cannot use {folder}: another autoexit-nginx uses it; giving up"
        )
    return folder


def renderer(settings: Settings, binary: Binary, folder: Path) -> Renderer:
    """
    Build the renderer for this machine and this nginx.

    Raises Problem when a template is broken, or a setting asks for what this nginx cannot do.
    """
    troubles = beyond(settings, binary.version)
    if troubles:
        raise Problem(ExitCode.CONFIG, *troubles)
    files, connections = machine.open_files()
    frame = Frame(
        settings=settings,
        nginx=binary.version,
        folder=str(folder),
        workers=machine.worker_count(),
        open_files=files,
        connections=connections,
        listen=machine.listen_directives(settings.listen_address, settings.listen_port),
        user=machine.worker_user(),
        admin_listen=()
        if settings.admin_port is None
        else machine.listen_directives(settings.listen_address, settings.admin_port),
        stub_status=binary.has_stub_status,
    )
    try:
        return Renderer(frame, read_templates())
    except Exception as error:
        raise Problem(ExitCode.CONFIG, f"cannot use the templates: {error}; giving up") from error


def operator_reader(settings: Settings) -> Callable[[], dict[str, bytes]]:
    """
    Return what reads the operator's files.
    """
    return lambda: read_operator_files(Path(settings.operator_dir))


def read_templates() -> dict[str, str]:
    """
    Read the templates.
    """
    return {path.name: path.read_text() for path in shipped.folder().glob("*.j2")}
