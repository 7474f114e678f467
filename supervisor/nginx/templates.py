"""
The templates of nginx's configuration, and the renderer built from them for this host.

The server and `autoexit-nginx check` build it the same way, so that the server accepts any
configuration that `check` accepts.
"""

from pathlib import Path

from supervisor.core.config.settings import Settings
from supervisor.core.errors import ExitCode, Problem
from supervisor.nginx import host_limits
from supervisor.nginx.process import Binary
from supervisor.nginx.render import RenderContext, Renderer, unsupported


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
    try:
        return Renderer(context, read_templates())
    except Exception as error:
        raise Problem(ExitCode.CONFIG, f"cannot use the templates: {error}; giving up") from error
