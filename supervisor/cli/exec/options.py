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
from supervisor.core.job_deadline import variable_path

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
    "MAX_TTL": durations.parse_ttl,
}


class NomadAccess(NamedTuple):
    """
    Where the job's variable is, and how to read it: by the Task API's socket, or over TCP.
    """

    path: str
    address: str
    namespace: str
    region: str
    token: str
    token_file: str
    cacert: str
    capath: str
    client_cert: str
    client_key: str
    tls_server_name: str
    skip_verify: bool


class Options(NamedTuple):
    """
    The deadline settings, the time limits of a shutdown in seconds, and the folder of the record.

    Without a folder (an empty string) every start begins a new lifetime.  `linger` is the time from
    the deadline to the command's TERM; unless `is_linger_set`, only a command that serves has it.
    `max_ttl` bounds a moved deadline.  `nomad` is None if the task has no access to Nomad's API.
    """

    deadline: DeadlineSettings
    stop_timeout: float
    drain_timeout: float
    state_dir: str
    linger: float
    is_linger_set: bool
    max_ttl: float | None = None
    nomad: NomadAccess | None = None


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
        values["MAX_TTL"],
        _nomad_access(given),
    )


def _nomad_access(given: Mapping[str, str]) -> NomadAccess | None:
    """
    Return the access to the job's variable, with the defaults of the supervisor.

    The Task API always requires a token, which only a task with an `identity` block has.
    """
    path, secrets = variable_path(given.get("NOMAD_JOB_ID", "")), given.get("NOMAD_SECRETS_DIR", "")
    address = given.get("NOMAD_ADDR") or given.get("NOMAD_UNIX_ADDR", "")
    if not address and secrets and os.path.exists(f"{secrets}/api.sock"):
        address = f"unix://{secrets}/api.sock"
    file = given.get("NOMAD_TOKEN_FILE", "")
    if not file and secrets and os.path.exists(f"{secrets}/nomad_token"):
        file = f"{secrets}/nomad_token"
    token = given.get("NOMAD_TOKEN", "")
    if not path or not address or not (token or file or not address.startswith("unix:")):
        return None
    return NomadAccess(
        path,
        address,
        given.get("NOMAD_NAMESPACE", "default"),
        given.get("NOMAD_REGION", ""),
        token,
        file,
        given.get("NOMAD_CACERT", ""),
        given.get("NOMAD_CAPATH", ""),
        given.get("NOMAD_CLIENT_CERT", ""),
        given.get("NOMAD_CLIENT_KEY", ""),
        given.get("NOMAD_TLS_SERVER_NAME", ""),
        given.get("NOMAD_SKIP_VERIFY", "").lower() in {"1", "true"},
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
