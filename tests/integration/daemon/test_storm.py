import subprocess
import sys

import pytest

from tests.support import nginxes
from tests.support.checkout import CHECKOUT
from tests.support.namespaces import why_no_unshare

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_no_unshare()), reason=why_no_unshare()),
]


def storm(*words: str) -> subprocess.CompletedProcess[str]:
    """
    Run a storm of 20 s in a mount namespace of its own.
    """
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.storm", "20s", *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("nginx", [nginxes.DISTRIBUTION])  # `make soak`: both
def test_F08_a_storm_of_faults_loses_only_what_they_explain(nginx: str) -> None:
    """
    Replicas, registry, nginx, the supervisor and its disks fail at random for 20 s.  Every answer
    belongs to its request, and each lost request is one that a fault of that moment may cost.
    `make soak` does the same for five minutes.
    """
    done = storm("--seed", "37", "--nginx", nginx)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "| requests lost and **unexplained** | 0 |" in done.stdout


@pytest.mark.parametrize("defect", ["short timeout"])  # `--defect` of the storm has others
def test_F08_a_storm_finds_a_defect(defect: str) -> None:
    """
    A program that cuts slow requests loses requests without a cause.
    """
    done = storm("--seed", "37", "--nginx", "nginx", "--defect", defect)

    assert 1 == done.returncode, done.stdout + done.stderr
    assert "| requests lost and **unexplained** | 0 |" not in done.stdout
