"""
consul-template beside us, if it is on PATH: it renders the upstream from the same registry and
sends SIGHUP to an nginx, without debounce, as its `wait` is off by default.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks import scene
from tests.support.fake_nomad import FakeNomad
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

#: Beside ours on the registry, but another service: so that each changes at its own moment.
SERVICE = "peer"

_NAME = "consul-template"


def version() -> str:
    """
    Return its name and version, or an empty string if it is missing.
    """
    if not shutil.which(_NAME):
        return ""
    ran = subprocess.run([_NAME, "-v"], capture_output=True, text=True, check=False)
    words = (ran.stdout + ran.stderr).split()
    return f"{_NAME} {words[1].removeprefix('v')}"


@contextlib.contextmanager
def running(nomad: FakeNomad, binary: str) -> Iterator[Supervised]:
    """
    Start an nginx, and consul-template that writes its endpoints; yield once these are served.
    """
    with scene.replaced(NGINX_BINARY=binary) as program:
        program.ready(30, status=502)  # no endpoints yet
        master = eventually(program.nginx_master)
        upstream = program.home / "upstream.conf"
        config = program.home / "consul-template.hcl"
        config.write_text(_CONFIG % (nomad.address, upstream, master))
        log = program.home / "consul-template.log"
        with _process(config, log):
            try:
                program.ready(30, status=200)
            except AssertionError as error:
                error.add_note(log.read_text())
                raise
            yield program


@contextlib.contextmanager
def _process(config: Path, log: Path) -> Iterator[None]:
    environ = {"PATH": os.environ["PATH"]}  # it reads much from variables
    words = [_NAME, "-config", str(config), "-log-level", "err"]
    with log.open("w") as output, subprocess.Popen(words, env=environ, stderr=output) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)  # any other one it would pass on to a child


_CONFIG = f"""\
nomad {{
  address = "%s"
}}
template {{
  contents    = <<EOT
upstream backend {{
{{{{ range nomadService "{SERVICE}" }}}}  server {{{{ .Address }}}}:{{{{ .Port }}}};
{{{{ else }}}}  server 127.0.0.1:65535;
{{{{ end }}}}}}
EOT
  destination = "%s"
  command     = "kill -HUP %d"
}}
"""
