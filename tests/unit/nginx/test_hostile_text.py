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
EVERYBODY = AddressPolicy(allow=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")))

#: What is let in for each variable that reaches the configuration, to be spoilt.
GOOD = {
    "LISTEN_PORT": "8080",
    "NOMAD_PORT_http": "8081",
    "LISTEN_ADDRESS": "127.0.0.1,::1",
    "READY_PATH": "/-/ready",
    "LB_METHOD": "least_conn",
    "LB_HASH_KEY": "header:X-User",
    "STICKY": "cookie",
    "TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8",
    "ACCESS_LOG": "json",
    "MAX_BODY_SIZE": "20m",
    "CONNECT_TIMEOUT": "1.5h",
    "REQUEST_TIMEOUT": "90s",
    "SUNSET_HEADER": "true",
    "RUNTIME_DIR": "/run/a-b c",
    "NOMAD_TASK_DIR": "/alloc/local",
    "ENDPOINTS": "10.0.0.1:80,host:1",
    "DURATION": "1h",
}

#: What goes only together.
BESIDE = {"LB_HASH_KEY": {"LB_METHOD": "hash"}}


def spoilt(good: str, dice: random.Random) -> str:
    """
    Put poison somewhere into a good text, or in its place.
    """
    poison = "".join(dice.choices(POISON, k=dice.choice([0, 1, 1, 1, 2, 5])))
    at = dice.randint(0, len(good))
    return dice.choice([good[:at] + poison + good[at:], good[:at] + poison, poison])


def environments(dice: random.Random) -> Iterator[dict[str, str]]:
    """
    Yield environments with one variable spoilt, each variable in its turn.
    """
    names = sorted({*GOOD, *(item.name.upper() for item in fields(Settings) if item.metadata)})
    weighty = [*names, *[name for name in names if name in GOOD] * 3]
    for number in range(STRINGS):
        name = weighty[number % len(weighty)]
        yield {name: spoilt(GOOD.get(name, "web"), dice), **BESIDE.get(name, {})}


def unknown(bundle: RenderedConfig, folder: str = "/run/ax") -> list[str]:
    """
    Return what the rendered files hold and nobody has allowed.
    """
    with tempfile.TemporaryDirectory() as name:
        return unexpected_directives(directives(bundle.files, Path(name)), folder)


def test_S01_text_of_the_registry_becomes_server_lines_or_nothing() -> None:
    """
    Ten thousand addresses and ports, most of them poison: the rendered configuration holds one
    whitelisted `server` line for each that is let in, and not a word more.
    """
    dice = random.Random(1)
    served = set()
    for number in range(STRINGS):
        address = (
            f"10.{number % 7}.{number % 251}.{number % 253}" if number % 2 else f"fd00::{number:x}"
        )
        port: object = dice.choice([80, 1, 65535, 65536, 0, True, 80.0, "80", spoilt("80", dice)])
        found = validate(spoilt(address, dice), port, EVERYBODY)
        served |= {found} if found else set()
    plan = shared(sorted(served), dice)
    bundle = rendered({}, (1, 31, 3), plan)

    assert 100 < len(served) < STRINGS / 2
    assert [] == unknown(bundle)
    lines = bundle.files["upstream.conf"].decode().splitlines()
    assert [str(each) for each in sorted(served)] == [
        line.split()[1] for line in lines if line.startswith("    server ")
    ]


def shared(served: list[Endpoint], dice: random.Random) -> Plan:
    """
    Make a plan in which some endpoints ask for something.
    """
    server_options = [
        (each, ServerOptions(dice.randint(-9, 99), dice.random() < 0.5)) for each in served[::2]
    ]
    return Plan(tuple(served), Mode.SERVE, tuple(server_options), 1_800_000_000)


def compile_once(compiling: Callable[..., CodeType]) -> Callable[..., CodeType]:
    """
    Remember templates that are compiled: it takes nearly all of the time, and settings change none.
    """
    known: dict[str, CodeType] = {}

    def once(environment: Environment, source: str, *names: str | None) -> CodeType:
        if source not in known:
            known[source] = compiling(environment, source, *names)
        return known[source]

    return once


def accepted(environ: dict[str, str], plan: Plan, folder: str) -> RenderedConfig | None:
    """
    Render a plan, or nothing where the settings are refused as such.
    """
    try:
        return rendered(environ, (1, 31, 3), plan, folder)
    except Problem as problem:
        if problem.code != ExitCode.CONFIG:
            raise
        return None


def test_S02_text_of_the_environment_is_refused_or_does_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Ten thousand values, most of them poison, in every variable there is: either the settings are
    refused with code 78, or the rendered configuration holds whitelisted directives only.
    """
    monkeypatch.setattr(Environment, "compile", compile_once(Environment.compile))
    refused, seen, dice = 0, set(), random.Random(2)
    serving = Plan((Endpoint("10.0.0.1", 80),), Mode.SERVE, sunset=1_800_000_000)
    refusing = Plan((), Mode.STARTING, sunset=1_800_000_000)
    for environ in environments(dice):
        # No variable of a process can hold the end of a string, and no folder's name either.
        folder = dice.choice(runtime_candidates(environ)).replace("\0", "")
        bundle = accepted(environ, dice.choice([serving, refusing]), folder)
        if bundle is None:
            refused += 1
            continue
        if bundle.digest not in seen:
            assert [] == unknown(bundle, folder)
        seen.add(bundle.digest)
    assert refused > STRINGS / 4
    assert len(seen) > 100
