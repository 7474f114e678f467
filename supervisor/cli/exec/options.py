"""
The input of `exec`: the command from the command line, the settings from the environment.

Only the settings of the deadline are read.  The environment belongs to the command: an invalid
LOG_LEVEL in it, for example, is not an error here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from supervisor.core import durations
from supervisor.core.deadline_record import DeadlineSettings, apply_duration_alias
from supervisor.core.errors import ExitCode, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DEFAULTS = {"TTL": "24h", "STOP_TIMEOUT": "4s", "DRAIN_TIMEOUT": "30s"}

#: The balancer's default DRAIN_TIMEOUT in seconds: the least that a command lingers by default.
_BALANCER_DRAIN_TIMEOUT = 30.0

_READERS = {
    "TTL": durations.parse_ttl,
    "DEADLINE": durations.parse_instant,
    "STOP_TIMEOUT": durations.parse_span,
    "DRAIN_TIMEOUT": durations.parse_span,
    "LINGER": durations.parse_span,
}


class Options(NamedTuple):
    """
    The deadline settings, the time limits of a shutdown in seconds, and the folder of the record.

    Without a folder (an empty string) every start begins a new lifetime.  `linger` is the time from
    the deadline to the command's TERM; unless `is_linger_set`, only a command that serves has it.
    """

    deadline: DeadlineSettings
    stop_timeout: float
    drain_timeout: float
    state_dir: str
    linger: float
    is_linger_set: bool


def command_in(arguments: Sequence[str]) -> list[str]:
    """
    Return the command of `[--] COMMAND ...`.  Raises Problem with code 64 if there is none.
    """
    if arguments and arguments[0].startswith("-") and arguments[0] != "--":
        raise Problem(
            ExitCode.USAGE,
            f"cannot read the command line: unknown option {arguments[0]!r}; see exec --help",
        )
    command = list(arguments[1:] if arguments and arguments[0] == "--" else arguments)
    if not command:
        raise Problem(
            ExitCode.USAGE, "cannot read the command line: no command to run; see exec --help"
        )
    return command


def read(environ: Mapping[str, str]) -> Options:
    """
    Read the settings.  Raises Problem with code 78 and one line per invalid setting.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    errors, values = apply_duration_alias(given), {}
    for name, reader in _READERS.items():
        text = given.get(name) or _DEFAULTS.get(name)
        try:
            values[name] = None if text is None else reader(text)
        except ValueError as error:
            errors.append(f"{name}={text!r}: {error}")
    if errors:
        raise Problem(ExitCode.CONFIG, *errors)
    drain_timeout, linger = values["DRAIN_TIMEOUT"] or 0.0, values["LINGER"]
    return Options(
        DeadlineSettings(values["TTL"], values["DEADLINE"], given.get("NOMAD_ALLOC_ID", "")),
        values["STOP_TIMEOUT"] or 0.0,
        drain_timeout,
        _state_dir(given),
        max(_BALANCER_DRAIN_TIMEOUT, drain_timeout) if linger is None else linger,
        linger is not None,
    )


def _state_dir(given: Mapping[str, str]) -> str:
    """
    Return the folder of the record, chosen as the supervisor does, with one exception.

    /var/lib is used only as PID 1, in a container.  Elsewhere two commands would share one record
    there, and the second would exit at the deadline of the first.
    """
    if "STATE_DIR" in given:
        return given["STATE_DIR"]
    if "NOMAD_ALLOC_DIR" in given:
        task = given.get("NOMAD_TASK_NAME", "task")
        return f"{given['NOMAD_ALLOC_DIR']}/data/autoexit-nginx/{task}"
    return "/var/lib/autoexit-nginx" if os.getpid() == 1 else ""
