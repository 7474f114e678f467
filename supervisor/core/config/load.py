"""
Read and validate the settings from environment variables.

`--help`, the README's table and the validation all use the fields of `Settings`.  All mistakes are
reported together, because correcting them one by one takes a redeployment of the job each.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields

from supervisor.core.balancing_methods import METHODS
from supervisor.core.config import nomad_env
from supervisor.core.config.instance import read_instance
from supervisor.core.config.settings import Settings
from supervisor.core.deadline_record import apply_duration_alias
from supervisor.core.errors import ExitCode, Problem

#: The similarity from which an unknown variable counts as a misspelt setting.
_MIN_SIMILARITY = 0.85

__all__ = ["Settings", "read", "suspects", "table"]


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
    environ: Mapping[str, str], exists: Callable[[str], bool], local: Iterable[str] = ()
) -> Settings:
    """
    Read all settings; `exists` tests whether a path exists, `local` are this host's addresses.

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
            mistakes.append(f"{name}={_quoted(name, text)}: {error}")
    mistakes += _conflicts(given, exists)
    if "listen_port" in values and values["listen_port"] == values.get("admin_port"):
        mistakes.append(f"ADMIN_PORT={values['admin_port']}: must differ from LISTEN_PORT")
    if mistakes:
        raise Problem(ExitCode.CONFIG, *mistakes)
    if not values["health_check"]:
        values["health_check"] = "http" if values["health_path"] else "tcp"
    if values["service_job"] == "self":
        values["service_job"] = values["nomad_job_id"]
    return Settings(
        **values,
        task_environment=nomad_env.task_environment(given, local, exists),
        instance=read_instance(given),
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


def suspects(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """
    Find variables that are probably misspelt settings, as (variable, setting).
    """
    settings = [item.name.upper() for item in fields(Settings) if item.metadata]
    known = {*settings, "DURATION"}
    found = []
    for name in sorted(environ):
        if name in known or name.startswith("NOMAD_"):
            continue
        similar = [each for each in settings if _max_similarity(name, each) >= _MIN_SIMILARITY]
        found += [(name, setting) for setting in _closest(name, similar)]
    return found


def _max_similarity(one: str, other: str) -> float:
    """Return an upper bound of the similarity of two names: by their letters, in any order."""
    common = Counter(one) & Counter(other)
    return 2.0 * common.total() / (len(one) + len(other))


def _closest(name: str, candidates: list[str]) -> list[str]:
    if not candidates:
        return []
    # Imported only here because it takes 0.2 MB and is rarely needed.
    from difflib import get_close_matches  # noqa: PLC0415

    return get_close_matches(name, candidates, n=1, cutoff=_MIN_SIMILARITY)


def _quoted(name: str, text: str) -> str:
    return "(hidden)" if name == "NOMAD_TOKEN" else repr(text)
