"""
The content of the image.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.container import Container, status_of
from tests.support.engine import IMAGE, engine, inspected, run_engine
from tests.support.waiting import eventually

Contain = Callable[..., Container]

PYTHON = "/opt/autoexit-nginx/bin/python"

# The modules for serving; `python -v` shows the file of each.
IMPORTS = "import supervisor.daemon.start, supervisor.cli.healthcheck, supervisor.cli.check"

STALE = """
import importlib.util, pathlib, sys
for path in pathlib.Path(sys.argv[1]).rglob("*.py"):
    cached = pathlib.Path(importlib.util.cache_from_source(str(path)))
    if not cached.exists() or cached.read_bytes()[4:8] != b"\\x01\\0\\0\\0":
        print(path)
"""


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """
    Run the image's Python.
    """
    return run_engine("run", "--rm", "--entrypoint", PYTHON, IMAGE, *words)


def floor(image: str) -> subprocess.CompletedProcess[str]:
    """
    Run the release's check of the nginx version on an image.
    """
    return subprocess.run(
        ["tools/nginx-floor", image],
        cwd=CHECKOUT,
        env={"ENGINE": engine(), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_S09_its_nginx_has_no_known_vulnerability() -> None:
    """
    The image's nginx package is at least the first version with all known vulnerabilities fixed.
    """
    done = floor(IMAGE)

    assert 0 == done.returncode, done.stderr
    assert "is at least" in done.stdout


def test_S09_an_older_nginx_is_refused(tmp_path: Path) -> None:
    """
    The check fails for the version before, and names the required one.
    """
    status = "/var/lib/dpkg/status"
    older = r"s/^Version: 1\.22\.1-9+deb12u11$/Version: 1.22.1-9+deb12u10/; "
    older += r"s/^Version: 1\.3\([01]\)\.[0-9.]*\(-.*\)$/Version: 1.3\1.0\2/"
    (tmp_path / "Dockerfile").write_text(
        f"FROM {IMAGE}\nUSER root\nRUN sed -i '{older}' {status}\n"
    )
    tag = f"{IMAGE}-older"
    built = run_engine("build", "--quiet", "--tag", tag, str(tmp_path))
    assert 0 == built.returncode, built.stderr
    try:
        done = floor(tag)
    finally:
        run_engine("image", "rm", tag)

    assert 1 == done.returncode
    assert done.stderr.startswith("cannot ship nginx ")


def test_S09_it_has_the_locked_packages_and_no_other() -> None:
    """
    The image contains only the program and the locked runtime dependencies: no pip, no build tool,
    no test dependency.
    """
    names = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
    lines = python("-I", "-c", names).stdout.splitlines()
    installed = {re.sub(r"[-_.]+", "-", line.lower()) for line in lines}
    lock = (CHECKOUT / "requirements.lock").read_text()
    locked = {
        re.sub(r"[-_.]+", "-", f"{name} {version}".lower())
        for name, version in re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([\w.]+)", lock, re.MULTILINE)
    }

    assert {line for line in installed if not line.startswith("autoexit-nginx ")} <= locked
    assert {"psutil", "structlog", "jinja2", "python-nomad"} <= {
        line.split()[0] for line in installed
    }


#: Prints how many templates the engine has to compile.
UNCOMPILED_TEMPLATES = """
from supervisor.nginx.render import Compiled, template_environment
from supervisor.nginx.templates import read_compiled, read_templates

templates, compiled = read_templates(), Compiled(read_compiled())
for name in templates:
    template_environment(templates, compiled).get_template(name)
print(len(compiled.new))
"""


def test_nothing_is_compiled_at_a_start() -> None:
    """
    Every module has unchecked bytecode, the imported modules of the standard library are compiled
    too, and so are the templates.
    """
    stale = python("-I", "-c", STALE, "/opt/autoexit-nginx/lib")
    assert "" == stale.stdout

    imports = python("-I", "-B", "-v", "-c", IMPORTS).stderr
    assert re.search(r"^# code object from '.*supervisor/.*\.pyc'$", imports, re.MULTILINE)
    assert [] == re.findall(r"^# code object from '.*\.py'$", imports, re.MULTILINE)

    assert "0\n" == python("-I", "-c", UNCOMPILED_TEMPLATES).stdout


@pytest.mark.parametrize("user", ["101:101", "4711"])
def test_only_the_state_and_run_folders_are_written(contain: Contain, user: str) -> None:
    """
    A run in a writable container changes only the state and run folders.
    """
    container = contain(options=("--user", user), TTL="2s")
    assert 0 == container.code()
    changed = run_engine("diff", container.name).stdout.splitlines()
    paths = {line.split(None, 1)[1] for line in changed}

    ours = ("/run/autoexit-nginx", "/var/lib/autoexit-nginx")
    parents = {"/run", "/var", "/var/lib"}
    engines = {
        "/etc",
        "/etc/passwd",
        "/etc/group",
    }  # Podman adds a user without a name
    left = paths - parents - engines
    assert [] == sorted(path for path in left if not path.startswith(ours))


def test_it_is_small(contain: Contain, record_property: Callable[[str, object], None]) -> None:
    """
    The size of the image and the memory of the container are printed and limited.
    """
    config = inspected(IMAGE)
    container = contain()
    container.answers()
    eventually(lambda: container.log_lines("reload.applied"), 5)
    own = int(status_of(container.pid, "VmRSS").split()[0])
    used = run_engine("stats", "--no-stream", "--format", "{{.MemUsage}}", container.name).stdout
    record_property("image", f"{config['Size'] / 1e6:.0f} MB")
    record_property("supervisor", f"{own / 1e3:.1f} MB RSS")
    record_property("container", f"{used.partition('/')[0].strip()} by its control group")

    assert config["Size"] < 300e6
    assert own < 45e3
