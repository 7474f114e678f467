"""
The renderer's files for a plan, and a real nginx that runs on them.

The supervisor does not run: the tests are about the rendered files alone.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from supervisor.core.config.load import read
from supervisor.core.model import Plan
from supervisor.nginx.host_limits import listen_directives, worker_user
from supervisor.nginx.process import find_binary
from supervisor.nginx.render import RenderContext, RenderedConfig, Renderer
from supervisor.nginx.templates import read_templates
from tests.support.client import get
from tests.support.waiting import eventually, free_port

TEMPLATES = read_templates()


def rendered(
    environ: Mapping[str, str],
    version: tuple[int, ...],
    plan: Plan,
    folder: str = "/run/ax",
    *,
    rotation: int = 0,
    operator: Mapping[str, bytes] | None = None,
    stub_status: bool = False,
    is_musl: bool = False,
) -> RenderedConfig:
    """
    Render a plan with these settings for this nginx version.
    """
    source = (
        {} if {"SERVICE_NAME", "ENDPOINTS_FILE"} & set(environ) else {"ENDPOINTS": "10.0.0.1:1"}
    )
    settings = read({**source, "LISTEN_ADDRESS": "127.0.0.1", **environ}, _never)
    frame = RenderContext(
        settings=settings,
        nginx=version,
        folder=folder,
        workers=2,
        open_files=1024,
        connections=512,
        listen=listen_directives(settings.listen_address, settings.listen_port),
        user=worker_user(),
        admin_listen=()
        if settings.admin_port is None
        else listen_directives(settings.listen_address, settings.admin_port),
        stub_status=stub_status,
        is_musl=is_musl,
    )
    return Renderer(frame, TEMPLATES).render(plan, 1, rotation, operator or {})


def written(files: Mapping[str, bytes], folder: Path) -> Path:
    """
    Write rendered files to the folder, and return the main one.
    """
    folder.chmod(0o711)  # nginx's workers run as another user
    (folder / "temp").mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / "nginx.conf"


@cache
def version_of(nginx: str) -> tuple[int, ...]:
    """
    Return the version of an nginx binary.
    """
    output = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"/([0-9.]+)", output.removeprefix("nginx version:"))
    assert found is not None, output
    return tuple(int(part) for part in found[1].split("."))


@cache
def has_stub_status(nginx: str) -> bool:
    """
    Return whether an nginx is built with the module that counts connections.
    """
    done = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=True)
    return "--with-http_stub_status_module" in done.stderr


@cache
def is_musl(nginx: str) -> bool:
    """
    Return whether an nginx is built with musl.
    """
    return find_binary(nginx).is_musl


def command(nginx: str, config: Path, *words: str) -> list[str]:
    """
    Return the command line to start an nginx on a configuration.
    """
    return [nginx, "-p", f"{config.parent}/", "-e", "stderr", "-c", str(config), *words]


def check_error(nginx: str, config: Path) -> str:
    """
    Return the exit code and output of a failing `nginx -t`, an empty string if it passes.
    """
    done = subprocess.run(
        command(nginx, config, "-tq"), capture_output=True, text=True, check=False, timeout=20
    )
    return f"{done.returncode}: {done.stderr}" if done.returncode or done.stderr else ""


@contextmanager
def running(
    nginx: str,
    plan: Plan,
    environ: Mapping[str, str] | None = None,
    operator: Mapping[str, bytes] | None = None,
) -> Iterator[int]:
    """
    Run an nginx on a rendered plan, and yield its port.
    """
    port = free_port()
    settings = {"LISTEN_PORT": str(port), **(environ or {})}
    with tempfile.TemporaryDirectory(prefix="ax-") as name:
        folder = Path(name)
        bundle = rendered(
            settings, version_of(nginx), plan, name, operator=operator, is_musl=is_musl(nginx)
        )
        config = written(bundle.files, folder)
        with subprocess.Popen(command(nginx, config), stderr=subprocess.PIPE, text=True) as child:
            try:
                eventually(
                    lambda: _answers(folder, bundle, child), 10, what="an nginx that answers"
                )
                yield port
            finally:
                child.terminate()
                child.wait(10)


def _answers(folder: Path, bundle: RenderedConfig, child: subprocess.Popen[str]) -> bool:
    if child.poll() is not None and child.stderr is not None:
        message = f"nginx ended with {child.returncode}: {child.stderr.read()}"
        raise RuntimeError(message)
    socket = folder / bundle.generation_socket
    return bundle.generation == get(socket, "/-/generation", timeout=0.5).text


def _never(_: str) -> bool:
    return False
