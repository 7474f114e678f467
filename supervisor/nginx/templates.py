"""
The templates of nginx's configuration, and the renderer built from them for this host.

The server and `autoexit-nginx check` build it the same way, so that the server accepts any
configuration that `check` accepts.

Compiled templates are kept beside the templates, in `__pycache__` as compiled modules are, and with
the same trust: whoever may write there may also write the templates.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from supervisor.core.config.settings import Settings
from supervisor.core.errors import ExitCode, Problem
from supervisor.nginx import host_limits
from supervisor.nginx.process import Binary
from supervisor.nginx.render import (
    Compiled,
    RenderContext,
    Renderer,
    template_environment,
    unsupported,
)


def data_dir() -> Path:
    """
    Return the folder of templates and pages, in the installed package or in a checkout.
    """
    here = Path(__file__).parent.parent
    installed = here / "templates"
    return installed if installed.is_dir() else here.parent / "nginx"


def read_templates() -> dict[str, str]:
    """
    Return the text of the templates by file name.
    """
    return {path.name: path.read_text() for path in data_dir().glob("*.j2")}


def compile_all() -> None:
    """
    Compile the templates and keep them, for an image whose folders are read-only at run time.
    """
    templates = read_templates()
    compiled = Compiled(read_compiled())
    environment = template_environment(templates, compiled)
    for name in templates:
        environment.get_template(name)
    _keep(compiled.new)


def _compiled_folder() -> Path:
    return data_dir() / "__pycache__"


def read_compiled() -> dict[str, bytes]:
    """
    Return the kept compiled templates of this version of Python by the engine's key.
    """
    suffix = f".{sys.implementation.cache_tag}"
    with suppress(OSError):
        return {
            path.stem: path.read_bytes()
            for path in _compiled_folder().iterdir()
            if path.suffix == suffix
        }
    return {}


def _keep(compiled: dict[str, bytes]) -> None:
    """Keep compiled templates where that is possible."""
    folder = _compiled_folder()
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        for key, code in compiled.items():
            path = folder / f"{key}.{sys.implementation.cache_tag}"
            new = path.with_suffix(f".{os.getpid()}")
            new.write_bytes(code)
            new.replace(path)


def build_renderer(
    settings: Settings, binary: Binary, folder: Path, *, run: str, workers: int
) -> Renderer:
    """
    Build the renderer for this host, this nginx, its workers and the socket names of this run.

    Raises Problem when a template is broken or a setting needs a newer nginx.
    """
    errors = unsupported(settings, binary.version)
    if errors:
        raise Problem(ExitCode.CONFIG, *errors)
    files, connections = host_limits.open_files()
    context = RenderContext(
        settings=settings,
        nginx=binary.version,
        folder=str(folder),
        workers=workers,
        open_files=files,
        connections=connections,
        listen=host_limits.listen_directives(settings.listen_address, settings.listen_port),
        user=host_limits.worker_user(),
        admin_listen=()
        if settings.admin_port is None
        else host_limits.listen_directives(settings.listen_address, settings.admin_port),
        stub_status=binary.has_stub_status,
        is_musl=binary.is_musl,
        run=run,
    )
    compiled = Compiled(read_compiled())
    try:
        renderer = Renderer(context, read_templates(), compiled)
    except Exception as error:
        raise Problem(ExitCode.CONFIG, f"cannot use the templates: {error}; giving up") from error
    if compiled.new and not sys.dont_write_bytecode:  # as Python decides for modules
        _keep(compiled.new)
    return renderer
