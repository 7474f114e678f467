"""
The settings: environment variables only, one table for all that reads or shows them.

`--help`, the README's table and the validation all come from `rows`.  All mistakes are reported
together, because a job is redeployed for each try.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields

from supervisor.core.balancing_methods import METHODS
from supervisor.core.config import nomad_env
from supervisor.core.config.settings import Settings
from supervisor.core.deadline_record import apply_duration_alias
from supervisor.core.errors import ExitCode, Problem

#: From here on an unknown variable is taken for one of ours misspelt.
_ALIKE = 0.85

__all__ = ["Settings", "read", "suspects", "table"]


def table() -> list[tuple[str, str, str]]:
    """
    Return the rows that people read: variable, default, meaning.
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
    environ: Mapping[str, str], exists: Callable[[str], bool], local: Iterable[str] = ()
) -> Settings:
    """
    Read all settings; `exists` tells whether a path is there, `local` are our own addresses.

    Raises Problem with code 78 and a line for every mistake.
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
            mistakes.append(f"{name}={_quoted(name, text)}: {error}")
    mistakes += _contradictions(given, exists)
    if "listen_port" in values and values["listen_port"] == values.get("admin_port"):
        mistakes.append(f"ADMIN_PORT={values['admin_port']}: it must differ from LISTEN_PORT")
    if mistakes:
        raise Problem(ExitCode.CONFIG, *mistakes)
    if not values["health_check"]:
        values["health_check"] = "http" if values["health_path"] else "tcp"
    if values["service_job"] == "self":
        values["service_job"] = values["nomad_job_id"]
    return Settings(**values, task_environment=nomad_env.task_environment(given, local))


def _contradictions(given: Mapping[str, str], exists: Callable[[str], bool]) -> list[str]:
    """Find what is wrong between settings that are right by themselves."""
    mistakes = []
    chosen = [name for name in ("SERVICE_NAME", "ENDPOINTS", "ENDPOINTS_FILE") if name in given]
    if len(chosen) != 1:
        error = (
            "one of them must be set" if not chosen else f"set only one, not {' and '.join(chosen)}"
        )
        mistakes.append(f"SERVICE_NAME, ENDPOINTS or ENDPOINTS_FILE: {error}")
    check = given.get("HEALTH_CHECK", "http" if "HEALTH_PATH" in given else "tcp").lower()
    mistakes += [
        f"{name} is for HEALTH_CHECK=http, not {check}: set only one"
        for name in ("HEALTH_PATH", "HEALTH_STATUS")
        if name in given and check != "http"
    ]
    mistakes += [
        f"{name}: only the instances of a SERVICE_NAME have tags and a job"
        for name in ("SERVICE_TAGS", "SERVICE_JOB")
        if name in given and "SERVICE_NAME" not in given
    ]
    if check == "nomad" and "SERVICE_NAME" not in given:
        mistakes.append("HEALTH_CHECK=nomad: only a SERVICE_NAME has checks in Nomad")
    mistakes += _balancing_mistakes(given)
    if given.get("SERVICE_JOB") == "self" and "NOMAD_JOB_ID" not in given:
        mistakes.append("SERVICE_JOB=self: there is no job around us (NOMAD_JOB_ID is not set)")
    if given.get("AT_DEADLINE", "").lower() == "stop-job" and "NOMAD_JOB_ID" not in given:
        mistakes.append("AT_DEADLINE=stop-job: there is no job around us (NOMAD_JOB_ID is not set)")
    pair = ("NOMAD_CLIENT_CERT", "NOMAD_CLIENT_KEY")
    if len([name for name in pair if name in given]) == 1:
        mistakes.append(f"{' and '.join(pair)}: set both, a certificate needs its key")
    mistakes += [
        f"{name}={given[name]!r}: there is no such file or folder"
        for name in ("NOMAD_CACERT", "NOMAD_CAPATH", *pair)
        if name in given and not exists(given[name])
    ]
    return mistakes


def _balancing_mistakes(given: Mapping[str, str]) -> list[str]:
    """Find settings that a balancing method needs, and those of another method."""
    chosen = given.get("LB_METHOD", "").lower()
    mistakes = []
    for name, method in METHODS.items():
        if method.needs and name == chosen and method.needs not in given:
            mistakes.append(f"LB_METHOD={name}: set {method.needs} to {method.needs_one_of}")
        if method.needs in given and name != chosen:
            mistakes.append(f"{method.needs} is for LB_METHOD={name}: set both")
    return mistakes


def suspects(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """
    Find variables that are probably one of ours misspelt: (what was set, what was meant).
    """
    ours = [item.name.upper() for item in fields(Settings) if item.metadata]
    known = {*ours, "DURATION"}
    found = []
    for name in sorted(environ):
        if name in known or name.startswith("NOMAD_"):
            continue
        meant = _closest(name, [each for each in ours if _likeness(name, each) >= _ALIKE])
        if meant:
            found.append((name, meant[0]))
    return found


def _likeness(one: str, other: str) -> float:
    """Return the most that two words can be alike: by their letters, in whatever order."""
    common = Counter(one) & Counter(other)
    return 2.0 * common.total() / (len(one) + len(other))


def _closest(name: str, candidates: list[str]) -> list[str]:
    if not candidates:
        return []
    # Hardly ever needed, and 0.2 MB: memory is a promise.
    from difflib import get_close_matches  # noqa: PLC0415

    return get_close_matches(name, candidates, n=1, cutoff=_ALIKE)


def _quoted(name: str, text: str) -> str:
    return "(hidden)" if name == "NOMAD_TOKEN" else repr(text)
