"""
When the alert rules of docs/monitoring fire, evaluated by the real promtool.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT

ALERTS = CHECKOUT / "docs" / "monitoring" / "alerts.yml"

#: How long a large model may load, in minutes, and how soon an outage must be reported.
LOADING, OUTAGE = 20, 3

FIRING = 'alertstate="firing"'


def waits() -> dict[str, int]:
    """
    Return the minutes for which each alert waits.
    """
    found = re.findall(r"- alert: (\w+)\n +expr: .*\n +for: (\d+)m\n", ALERTS.read_text())
    return {name: int(minutes) for name, minutes in found}


def test_loading_is_no_outage() -> None:
    """
    The alert for no endpoints waits longer than a model loads, the one for failing endpoints not.
    """
    assert waits()["AutoexitNoEndpoints"] > LOADING
    assert waits()["AutoexitAllEndpointsFail"] < OUTAGE


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool: apt-get install prometheus")
@pytest.mark.parametrize(
    "series, fired",
    [
        # minutes: 20 of loading, then ready
        ({"starting": "2x20 0x40", "ready": "0x20 2x40", "serving": "0x20 2x40"}, {}),
        # it never becomes ready
        ({"starting": "2x60", "serving": "0x60"}, {"AutoexitNoEndpoints": 31}),
        # ready, then all fail, and failing open serves them
        (
            {"ready": "2x20 0x40", "failing": "0x20 2x40", "serving": "2x60"},
            {"AutoexitAllEndpointsFail": 23, "AutoexitEndpointsNotReady": 26},
        ),
    ],
)
def test_which_alerts_fire(tmp_path: Path, series: dict[str, str], fired: dict[str, int]) -> None:
    """
    None before the expected minute, and then exactly those.
    """
    values = {**dict.fromkeys(("ready", "starting", "failing", "slow"), "0x60"), **series}
    names = {name: f'autoexit_endpoints{{state="{name}",' for name in values}
    names["serving"] = "autoexit_serving_endpoints{"
    inputs = [
        {"series": f'{names[name]}instance="i",job="j"}}', "values": _expanded(text)}
        for name, text in values.items()
    ]
    always = {"autoexit_deadline_remaining_seconds": "86400x60", "autoexit_healthy": "1x60"}
    inputs += [
        {"series": f'{name}{{instance="i",job="j"}}', "values": _expanded(text)}
        for name, text in always.items()
    ]
    every = re.findall(r"- alert: (\w+)", ALERTS.read_text())
    cases = []
    for name in every:
        at = fired.get(name, 59)
        cases += [(minute, name, name in fired and minute >= at) for minute in (at - 2, at, 59)]
    test = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": inputs,
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{name}",{FIRING}}}) or vector(0)',
                        "eval_time": f"{minute}m",
                        "exp_samples": [{"labels": "{}", "value": int(is_firing)}],
                    }
                    for minute, name, is_firing in cases
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(json.dumps(test))  # JSON is YAML
    done = subprocess.run(
        ["promtool", "test", "rules", path], capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stdout + done.stderr


def _expanded(text: str) -> str:
    """Write `2x20 0x40` as promtool does: a first value and a number of further ones."""
    parts = [part.split("x") for part in text.split()]
    return " ".join(f"{value}x{int(count) - (n > 0)}" for n, (value, count) in enumerate(parts))
