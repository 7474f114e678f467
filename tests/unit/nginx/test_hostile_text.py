import ipaddress
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import CodeType

import pytest
from jinja2 import Environment

from supervisor.core.addresses import AddressPolicy, validate
from supervisor.core.config.paths import runtime_candidates
from supervisor.core.config.settings import Settings
from supervisor.core.errors import ExitCode, Problem
from supervisor.core.model import Endpoint, Mode, Plan, ServerOptions
from supervisor.nginx.render import RenderedConfig
from tests.support.conf_allowlist import unexpected_directives
from tests.support.conf_lint import directives
from tests.support.rendered import rendered

STRINGS = 10_000
POISON = [
    *(
        ";",
        "{",
        "}",
        "$",
        "#",
        "\n",
        "\r",
        "\0",
        "%",
        "\\",
        '"',
        "'",
        "`",
        " ",
        "\t",
        "~",
        ":",
        "[",
    ),
    *("]", "/", "@", ",", "\u0660", "\uff11", "\u2028", "\u202e", "é", "\x1b[31m", "${x}", "$1"),
    *("; } evil { ", "'; evil '", '"; evil "', "\\n", "\\'", "0", "1", "-", ".", "..", "_", "x"),
]
ALL_ADDRESSES = AddressPolicy(
    allow=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
)

#: A valid value for each variable that reaches the configuration.
VALID = {
    "LISTEN_PORT": "8080",
    "NOMAD_PORT_http": "8081",
    "LISTEN_ADDRESS": "127.0.0.1,::1",
    "READY_PATH": "/-/ready",
    "LB_METHOD": "least_conn",
    "LB_HASH_KEY": "header:X-User",
    "STICKY": "cookie",
    "TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8",
    "UNDERSCORE_HEADERS": "true",
    "RETRY_POST": "true",
    "ACCESS_LOG": "json",
    "IDLE_TIMEOUT": "2h",
    "MAX_BODY_SIZE": "20m",
    "CONNECT_TIMEOUT": "1.5h",
    "REQUEST_TIMEOUT": "90s",
    "SUNSET_HEADER": "true",
    "RUNTIME_DIR": "/run/a-b c",
    "NOMAD_TASK_DIR": "/alloc/local",
    "ENDPOINTS": "10.0.0.1:80,host:1",
    "DURATION": "1h",
}

#: Variables that another one requires.
REQUIRED = {"LB_HASH_KEY": {"LB_METHOD": "hash"}}


def corrupted(valid: str, rng: random.Random) -> str:
    """
    Insert poison into a valid text, or replace the text with it.
    """
    poison = "".join(rng.choices(POISON, k=rng.choice([0, 1, 1, 1, 2, 5])))
    at = rng.randint(0, len(valid))
    return rng.choice([valid[:at] + poison + valid[at:], valid[:at] + poison, poison])


def environments(rng: random.Random) -> Iterator[dict[str, str]]:
    """
    Yield environments with one corrupted variable, for each variable in turn.
    """
    names = sorted({*VALID, *(item.name.upper() for item in fields(Settings) if item.metadata)})
    weighted = [*names, *[name for name in names if name in VALID] * 3]
    for number in range(STRINGS):
        name = weighted[number % len(weighted)]
        yield {name: corrupted(VALID.get(name, "web"), rng), **REQUIRED.get(name, {})}


def unexpected(config: RenderedConfig, folder: str = "/run/ax") -> list[str]:
    """
    Return what the rendered files hold beyond the whitelist.
    """
    with tempfile.TemporaryDirectory() as name:
        return unexpected_directives(directives(config.files, Path(name)), folder)


def test_S01_registry_text_becomes_server_lines_or_nothing() -> None:
    """
    10,000 addresses and ports, most of them poison: the rendered configuration holds one
    whitelisted `server` line for each accepted one, and nothing else.
    """
    rng = random.Random(1)
    served = set()
    for number in range(STRINGS):
        address = (
            f"10.{number % 7}.{number % 251}.{number % 253}" if number % 2 else f"fd00::{number:x}"
        )
        port: object = rng.choice([80, 1, 65535, 65536, 0, True, 80.0, "80", corrupted("80", rng)])
        found = validate(corrupted(address, rng), port, ALL_ADDRESSES)
        served |= {found} if found else set()
    plan = plan_for(sorted(served), rng)
    config = rendered({}, (1, 31, 3), plan)

    assert 100 < len(served) < STRINGS / 2
    assert [] == unexpected(config)
    lines = config.files["upstream.conf"].decode().splitlines()
    assert [str(each) for each in sorted(served)] == [
        line.split()[1] for line in lines if line.startswith("    server ")
    ]


def plan_for(served: list[Endpoint], rng: random.Random) -> Plan:
    """
    Return a plan in which some endpoints have options.
    """
    server_options = [
        (each, ServerOptions(rng.randint(-9, 99), rng.random() < 0.5)) for each in served[::2]
    ]
    return Plan(tuple(served), Mode.SERVE, tuple(server_options), 1_800_000_000)


def compile_once(compiling: Callable[..., CodeType]) -> Callable[..., CodeType]:
    """
    Cache compiled templates: compiling takes nearly all of the time, and settings change none.
    """
    cache: dict[str, CodeType] = {}

    def once(environment: Environment, source: str, *names: str | None) -> CodeType:
        if source not in cache:
            cache[source] = compiling(environment, source, *names)
        return cache[source]

    return once


def accepted(environ: dict[str, str], plan: Plan, folder: str) -> RenderedConfig | None:
    """
    Render a plan, or return None if the settings are refused.
    """
    try:
        return rendered(environ, (1, 31, 3), plan, folder)
    except Problem as problem:
        if problem.code != ExitCode.CONFIG:
            raise
        return None


def test_S02_environment_text_is_refused_or_harmless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    10,000 values, most of them poison, in all variables: either the settings are refused with code
    78, or the rendered configuration holds whitelisted directives only.
    """
    monkeypatch.setattr(Environment, "compile", compile_once(Environment.compile))
    refused, seen, rng = 0, set(), random.Random(2)
    serving = Plan((Endpoint("10.0.0.1", 80),), Mode.SERVE, sunset=1_800_000_000)
    refusing = Plan((), Mode.STARTING, sunset=1_800_000_000)
    for environ in environments(rng):
        # Neither a variable nor the name of a folder can contain NUL.
        folder = rng.choice(runtime_candidates(environ, 101)).replace("\0", "")
        config = accepted(environ, rng.choice([serving, refusing]), folder)
        if config is None:
            refused += 1
            continue
        if config.digest not in seen:
            assert [] == unexpected(config, folder)
        seen.add(config.digest)
    assert refused > STRINGS / 4
    assert len(seen) > 100
