"""
Every file in jobs/: valid, formatted, documented, and consistent.
"""

import re
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.job_variables import JOBS
from tests.support.nomad_agent import run_nomad, why_no_nomad

FILES = sorted(JOBS.glob("*.hcl"))
DOCKER = [file for file in sorted(JOBS.glob("*.nomad.hcl")) if "demo" not in file.name]
PAGES = sorted(CHECKOUT.glob("docs/*.md"))
COMMON = [
    *("image", "replica_image", "replica_command", "replica_args", "replica_port"),
    *("count", "ttl", "deadline", "service", "namespace", "datacenters"),
]

needs_nomad = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad() or "nomad is installed"),
]


def variables(file: Path) -> dict[str, str]:
    """
    Return the variables of a job file with type and description, without the default.
    """
    blocks = re.findall(
        r'^variable "(\w+)" \{\n(.*?)^\}', file.read_text(), re.MULTILINE | re.DOTALL
    )
    return {name: re.sub(r"^  default .*\n", "", body, flags=re.MULTILINE) for name, body in blocks}


@pytest.mark.parametrize("file", DOCKER, ids=lambda file: file.name)
class TestConsistent:
    """
    Checks without Nomad.
    """

    def test_the_variables_are_the_same(self, file: Path) -> None:
        """
        The same variable has the same name and type in all files.
        """
        own, reference = variables(file), variables(DOCKER[0])

        assert COMMON == [name for name in own if name in COMMON]
        for name in own.keys() & reference.keys():
            types = [re.findall(r"type += (.*)", each[name]) for each in (own, reference)]
            assert types[0] == types[1]

    def test_only_the_images_have_no_default(self, file: Path) -> None:
        """
        Every variable has a default but the two images.
        """
        blocks = re.findall(
            r'variable "(\w+)" \{\n(.*?)^\}', file.read_text(), re.MULTILINE | re.DOTALL
        )

        assert ["image", "replica_image"] == [
            name for name, body in blocks if "  default " not in body
        ]

    def test_the_head_is_complete(self, file: Path) -> None:
        """
        The head has the command to run it, the variables to set, and the required policy.
        """
        head = file.read_text().partition('\nvariable "')[0]

        assert all(line.startswith("#") for line in head.strip().splitlines() if line)
        assert f"jobs/{file.name}" in head
        assert "nomad job run" in head
        assert "# Set: " in head
        assert "# Policy: " in head

    def test_endpoints_from_a_template_are_written_at_once(self, file: Path) -> None:
        """
        A template that writes ENDPOINTS_FILE waits for at most a second, here and in the docs:
        Nomad's default of 5 s is as long as the replicas' shutdown_delay.
        """
        for page in (file, *PAGES):
            text = page.read_text()
            expected = len(re.findall(r"ENDPOINTS_FILE += ", text))
            blocks = re.findall(r"^( *)template \{\n(.*?)^\1\}\n", text, re.MULTILINE | re.DOTALL)
            written = [body for _, body in blocks if 'destination = "local/endpoints"' in body]

            assert expected == len(written)
            wait = r'wait \{\s+min = "100ms"\s+max = "1s"\s+\}'
            assert all(re.search(wait, body) for body in written)

    def test_restart_and_kill_timeout_are_right(self, file: Path) -> None:
        """
        No `restart { attempts = 0 }`, and a kill_timeout above each STOP_TIMEOUT.
        """
        text = file.read_text()
        allowed = [int(found) for found in re.findall(r'kill_timeout += "(\d+)s"', text)]
        needed = [int(found) for found in re.findall(r'STOP_TIMEOUT += "(\d+)s"', text)]

        assert not re.search(r"^ +attempts += 0$", text, re.MULTILINE)
        pairs = zip(sorted(needed), sorted(allowed), strict=True)
        assert all(need < allow for need, allow in pairs)


class TestNomadReads:
    """
    Checks by the chosen `nomad`.
    """

    pytestmark = needs_nomad

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
    def test_it_is_formatted(self, file: Path) -> None:
        """
        `nomad fmt -check` finds nothing to change.
        """
        assert "" == run_nomad("fmt", "-check", str(file))

    @pytest.mark.parametrize("deadline", ["", "2099-01-31T18:00:00Z"], ids=["ttl", "deadline"])
    @pytest.mark.parametrize("file", DOCKER, ids=lambda file: file.name)
    def test_it_is_valid(self, file: Path, deadline: str) -> None:
        """
        `nomad job validate` succeeds without warnings.
        """
        given = ("-var=image=a:1", "-var=replica_image=b:1", f"-var=deadline={deadline}")

        output = run_nomad("job", "validate", *given, str(file))

        assert "Job validation successful" in output
        assert "arning" not in output

    @pytest.mark.parametrize("source", ["installed", "https://example.org/autoexit.pyz"])
    def test_exec_may_come_from_elsewhere(self, source: str) -> None:
        """
        `exec` may also come from the replica's own image, or as an artifact.
        """
        file = JOBS / "load-balancer-multi-group.nomad.hcl"
        given = ("-var=image=a:1", "-var=replica_image=b:1", f"-var=exec_from={source}")

        assert "successful" in run_nomad("job", "validate", *given, str(file))

    def test_the_demo_is_valid(self) -> None:
        """
        The demo has no image and needs no variables.
        """
        assert "successful" in run_nomad("job", "validate", str(JOBS / "demo.nomad.hcl"))
