"""
Read and validate the settings from environment variables.

`--help`, the README's table and the validation all use the fields of `Settings`.  All mistakes are
reported together, because correcting them one by one takes a redeployment of the job each.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from supervisor.core.balancing_methods import METHODS
from supervisor.core.config import nomad_env
from supervisor.core.config.instance import PROGRAM, read_instance
from supervisor.core.config.settings import Settings
from supervisor.core.config.suspects import hints, suspects, why_literal
from supervisor.core.deadline_record import apply_duration_alias
from supervisor.core.durations import format_span
from supervisor.core.errors import ExitCode, Problem

__all__ = ["Settings", "hints", "read", "suspects", "table"]


def table() -> list[tuple[str, str, str]]:
    """
    Return the documented rows: variable, default, meaning.
    """
    return [
        (
            item.name.upper(),
            item.metadata["shown"]
            or (f"`{item.metadata['default']}`" if item.metadata["default"] else ""),
            item.metadata["meaning"],
        )
        for item in fields(Settings)
        if item.metadata
    ]


def read(
    environ: Mapping[str, str],
    exists: Callable[[str], bool],
    local: Iterable[str] = (),
    program: str = PROGRAM,
) -> Settings:
    """
    Read all settings; `exists` tests whether a path exists, `local` are this host's addresses, and
    `program` is how a command in the same task names this program.

    Raises Problem with code 78 and one line for each mistake.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    mistakes, values = apply_duration_alias(given), {}
    defaults = nomad_env.defaults(given, exists)
    for item in fields(Settings):
        if not item.metadata:
            continue
        name = item.name.upper()
        text = given.get(name) or defaults.get(name) or item.metadata["default"]
        try:
            values[item.name] = item.metadata["read"](text)
        except ValueError as error:
            because = f"; {literal}" if (literal := why_literal(text)) else ""
            mistakes.append(f"{name}={_quoted(name, text)}: {error}{because}")
    mistakes += _conflicts(given, exists)
    if "listen_port" in values and values["listen_port"] == values.get("admin_port"):
        mistakes.append(f"ADMIN_PORT={values['admin_port']}: must differ from LISTEN_PORT")
    mistakes += _lifetime_mistakes(given, values)
    if mistakes:
        likely = [f"{name} is not a setting; did you mean {it}?" for name, it in suspects(given)]
        raise Problem(ExitCode.CONFIG, *mistakes, *likely)
    if not values["health_check"]:
        values["health_check"] = "http" if values["health_path"] else "tcp"
    if values["service_job"] == "self":
        values["service_job"] = values["nomad_job_id"]
    return Settings(
        **values,
        task_environment=nomad_env.task_environment(given, local, exists),
        instance=read_instance(given, program),
    )


def _conflicts(given: Mapping[str, str], exists: Callable[[str], bool]) -> list[str]:
    """Return the mistakes that involve more than one setting, or a file that does not exist."""
    mistakes = []
    chosen = [name for name in ("SERVICE_NAME", "ENDPOINTS", "ENDPOINTS_FILE") if name in given]
    if len(chosen) != 1:
        error = "set one of them" if not chosen else f"set only one, not {' and '.join(chosen)}"
        mistakes.append(f"SERVICE_NAME, ENDPOINTS or ENDPOINTS_FILE: {error}")
    check = given.get("HEALTH_CHECK", "http" if "HEALTH_PATH" in given else "tcp").lower()
    mistakes += [
        f"{name} requires HEALTH_CHECK=http, not {check}: set http or remove {name}"
        for name in ("HEALTH_PATH", "HEALTH_STATUS", "HEALTH_HOST")
        if name in given and check != "http"
    ]
    mistakes += [
        f"{name} requires SERVICE_NAME: static endpoints have no tags and no job"
        for name in ("SERVICE_TAGS", "SERVICE_JOB")
        if name in given and "SERVICE_NAME" not in given
    ]
    if check == "nomad" and "SERVICE_NAME" not in given:
        mistakes.append(
            "HEALTH_CHECK=nomad requires SERVICE_NAME: static endpoints have no checks in Nomad"
        )
    mistakes += _balancing_mistakes(given)
    if given.get("SERVICE_JOB") == "self" and "NOMAD_JOB_ID" not in given:
        mistakes.append(
            "SERVICE_JOB=self: not running inside a Nomad job (NOMAD_JOB_ID is not set)"
        )
    if given.get("AT_DEADLINE", "").lower() == "stop-job" and "NOMAD_JOB_ID" not in given:
        mistakes.append(
            "AT_DEADLINE=stop-job: not running inside a Nomad job (NOMAD_JOB_ID is not set)"
        )
    pair = ("NOMAD_CLIENT_CERT", "NOMAD_CLIENT_KEY")
    if len([name for name in pair if name in given]) == 1:
        mistakes.append(f"{' and '.join(pair)}: set both, a certificate requires its key")
    mistakes += [
        f"{name}={given[name]!r}: no such file or directory"
        for name in ("NOMAD_CACERT", "NOMAD_CAPATH", *pair)
        if name in given and not exists(given[name])
    ]
    return mistakes


def _lifetime_mistakes(given: Mapping[str, str], values: Mapping[str, Any]) -> list[str]:
    """Return the mistake of a service that would never be ready."""
    ttl, lame_duck = values.get("ttl"), values.get("lame_duck", 0.0)
    if ttl is None or "DEADLINE" in given or lame_duck < ttl:
        return []
    lifetime = f"the lifetime (TTL), which is {format_span(ttl)}"
    shown = _quoted("LAME_DUCK", given["LAME_DUCK"])
    return [f"LAME_DUCK={shown}: must be less than {lifetime}: READY_PATH would never return 200"]


def _balancing_mistakes(given: Mapping[str, str]) -> list[str]:
    """Return the mistakes of LB_METHOD: missing settings, and settings of another method."""
    chosen = given.get("LB_METHOD", "").lower()
    mistakes = []
    for name, method in METHODS.items():
        if method.needs and name == chosen and method.needs not in given:
            mistakes.append(f"LB_METHOD={name}: set {method.needs} to {method.needs_one_of}")
        if method.needs in given and name != chosen:
            mistakes.append(f"{method.needs} requires LB_METHOD={name}: set both")
    return mistakes


def _quoted(name: str, text: str) -> str:
    return "(hidden)" if name == "NOMAD_TOKEN" else repr(text)
