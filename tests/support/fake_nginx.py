"""
An executable in place of nginx, for faults that a real nginx rarely has.

The supervisor starts nginx with an empty environment, so the behaviour is in a file beside the
executable, read at every invocation: a test can change it in between.
"""

import json
import re
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

REAL = "/usr/sbin/nginx"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """
    The behaviour at the next invocation.

    `check` is for -t, `version` for -v and -V ("" runs the real one).  `run` "real" execs the real
    nginx, "fake" serves the generation itself, with `workers` processes titled as nginx's.  While
    `answers` is false it accepts connections and sends nothing; while `reloads` is false it ignores
    SIGHUP, while `obeys_stop` is false also stop signals.  It exits `after` seconds after it was
    `when`, with `code` or by `signal`.
    """

    check: Literal["real", "pass", "fail", "hang"] = "real"
    version: str = ""
    run: Literal["real", "fake"] = "real"
    workers: int = 1
    answers: bool = True
    reloads: bool = True
    obeys_stop: bool = True
    when: Literal["started", "answered", "never"] = "never"
    after: float = 0.0
    code: int = 0
    signal: int = 0
    complaint: str = "nginx: [emerg] the fake was set to fail"


@dataclass(frozen=True, slots=True)
class Invocation:
    """
    What the program inherited when it was run, as the kernel reports it.
    """

    pid: int
    words: tuple[str, ...]
    environ: dict[str, str]
    descriptors: dict[int, str]
    blocked: int
    ignored: int


class FakeNginx:
    """
    A folder with the executable, its behaviour, and a record of each invocation.
    """

    def __init__(self, folder: Path, real: str = REAL, **behaviour: object) -> None:
        self._folder = folder / "fake-nginx"
        (self._folder / "invocations").mkdir(parents=True)
        self.path = self._folder / "nginx"
        player = Path(__file__).with_name("fake_nginx_program.py")
        self.path.write_text(
            PREAMBLE.format(
                invocations=self._folder / "invocations",
                python=sys.executable,
                player=player,
                folder=self._folder,
                real=real,
            )
        )
        self.path.chmod(0o755)
        self.behaviour = Behaviour()
        self.set(**behaviour)

    def __str__(self) -> str:
        return str(self.path)

    def set(self, **changes: object) -> None:
        """
        Change the behaviour from the next invocation or signal on.
        """
        self.behaviour = replace(self.behaviour, **changes)  # type: ignore[arg-type]
        with tempfile.NamedTemporaryFile("w", dir=self._folder, delete=False) as file:
            json.dump(asdict(self.behaviour), file)
        Path(file.name).rename(self._folder / "behaviour.json")

    @property
    def runs(self) -> list[Invocation]:
        """
        The invocations as a server, in order, without -t, -v, -V and -T.
        """
        return [birth for birth in self._all() if not {"-t", "-v", "-V", "-T"} & {*birth.words}]

    @property
    def checks(self) -> list[Invocation]:
        """
        The invocations with -t, in order.
        """
        return [birth for birth in self._all() if "-t" in birth.words]

    def _all(self) -> list[Invocation]:
        records = [
            path for path in (self._folder / "invocations").iterdir() if path.suffix == ".done"
        ]
        return [
            _invocation(path) for path in sorted(records, key=lambda path: path.stat().st_mtime_ns)
        ]


PREAMBLE = """\
#!/bin/sh
# A shell, not Python, records what it inherits: Python changes signals at its start.
record={invocations}/$$
(
  cat /proc/$$/status
  echo ==words; tr '\\0' '\\n' < /proc/$$/cmdline
  echo ==environ; tr '\\0' '\\n' < /proc/$$/environ
  echo ==descriptors; cd /proc/$$/fd && for fd in *; do echo "$fd $(readlink $fd)"; done
) > $record 2>/dev/null
mv $record $record.$(date +%s%N).done
exec {python} -I -S {player} {folder} {real} "$@"
"""


def _invocation(path: Path) -> Invocation:
    status, words, environ, descriptors = re.split(
        r"==(?:words|environ|descriptors)\n", path.read_text()
    )
    masks = {
        name: int(mask, 16)
        for name, mask in re.findall(r"(Sig\w+):\s*(\w+)", status)
        if name != "SigQ"
    }
    links = dict(line.split(" ", 1) for line in descriptors.splitlines() if " " in line)
    return Invocation(
        pid=int(path.name.split(".")[0]),
        words=tuple(words.splitlines()[2:]),
        environ=dict(line.split("=", 1) for line in environ.splitlines() if "=" in line),
        descriptors={
            int(fd): link
            for fd, link in links.items()
            if link and not link.endswith("/fake-nginx/nginx")  # the shell's script
        },
        blocked=masks["SigBlk"],
        ignored=masks["SigIgn"],
    )
