"""
Every file in jobs/, as `nomad` reads it: valid, formatted, documented, and alike.
"""

import re
from pathlib import Path

import pytest

from tests.support.job_variables import JOBS
from tests.support.nomad_agent import checked, why_no_nomad

FILES = sorted(JOBS.glob("*.hcl"))
DOCKER = [file for file in sorted(JOBS.glob("*.nomad.hcl")) if "demo" not in file.name]
COMMON = [
    *("image", "replica_image", "replica_command", "replica_args", "replica_port"),
    *("count", "ttl", "deadline", "service", "namespace", "datacenters"),
]

needs_nomad = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad() or "there is one"),
]


_VARIABLE = re.compile(r'^variable "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


def variables(file: Path) -> dict[str, str]:
    """
    The variables of a job file: each with its type and description, but without its default.
    """
    blocks = re.findall(
        r'^variable "(\w+)" \{\n(.*?)^\}', file.read_text(), re.MULTILINE | re.DOTALL
    )
    return {name: re.sub(r"^  default .*\n", "", body, flags=re.MULTILINE) for name, body in blocks}


@pytest.mark.parametrize("file", DOCKER, ids=lambda file: file.name)
class TestAlike:
    """
    What needs no Nomad to be seen.
    """

    def test_the_variables_are_the_same(self, file: Path) -> None:
        """
        Whoever knows one file knows all: one name, one type, for the same thing.
        """
        ours, known = variables(file), variables(DOCKER[0])

        assert COMMON == [name for name in ours if name in COMMON]
        for name in ours.keys() & known.keys():
            types = [re.findall(r"type += (.*)", each[name]) for each in (ours, known)]
            assert types[0] == types[1]

    def test_only_the_images_are_missing(self, file: Path) -> None:
        """
        Everything has a default but the two images.
        """
        blocks = re.findall(
            r'variable "(\w+)" \{\n(.*?)^\}', file.read_text(), re.MULTILINE | re.DOTALL
        )

        assert ["image", "replica_image"] == [
            name for name, body in blocks if "  default " not in body
        ]

    def test_the_head_tells_all(self, file: Path) -> None:
        """
        What it is for, the command that runs it, what to set, and the policy it needs.
        """
        head = file.read_text().partition('\nvariable "')[0]

        assert all(line.startswith("#") for line in head.strip().splitlines() if line)
        assert f"jobs/{file.name}" in head
        assert "nomad job run" in head
        assert "# Set: " in head
        assert "# Policy: " in head

    def test_it_ends_as_it_should(self, file: Path) -> None:
        """
        No `restart { attempts = 0 }`, and a kill_timeout above each STOP_TIMEOUT.
        """
        text = file.read_text()
        allowed = [int(found) for found in re.findall(r'kill_timeout += "(\d+)s"', text)]
        needed = [int(found) for found in re.findall(r'STOP_TIMEOUT += "(\d+)s"', text)]

        assert not re.search(r"^ +attempts += 0$", text, re.MULTILINE)
        pairs = zip(sorted(needed), sorted(allowed), strict=True)
        assert all(need < allow for need, allow in pairs)


class TestRead:
    """
    By the `nomad` that was picked.
    """

    pytestmark = needs_nomad

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
    def test_it_is_formatted(self, file: Path) -> None:
        """
        `nomad fmt -check` has nothing to change.
        """
        assert "" == checked("fmt", "-check", str(file))

    @pytest.mark.parametrize("deadline", ["", "2099-01-31T18:00:00Z"], ids=["ttl", "deadline"])
    @pytest.mark.parametrize("file", DOCKER, ids=lambda file: file.name)
    def test_it_is_valid(self, file: Path, deadline: str) -> None:
        """
        `nomad job validate` is content, and has no warning.
        """
        given = ("-var=image=a:1", "-var=replica_image=b:1", f"-var=deadline={deadline}")

        said = checked("job", "validate", *given, str(file))

        assert "Job validation successful" in said
        assert "arning" not in said

    @pytest.mark.parametrize("source", ["installed", "https://example.org/autoexit.pyz"])
    def test_exec_may_come_from_elsewhere(self, source: str) -> None:
        """
        Out of the replica's own image, or as an artifact, as well as out of the balancer's image.
        """
        file = JOBS / "load-balancer-multi-group.nomad.hcl"
        given = ("-var=image=a:1", "-var=replica_image=b:1", f"-var=exec_from={source}")

        assert "successful" in checked("job", "validate", *given, str(file))

    def test_the_demo_is_valid(self) -> None:
        """
        It has no image, and so nothing has to be given.
        """
        assert "successful" in checked("job", "validate", str(JOBS / "demo.nomad.hcl"))
