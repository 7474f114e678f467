"""
The contents of an image are pinned, in the build and in the workflows.
"""

import re
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT

ROOT = CHECKOUT
LOCKS = sorted(ROOT.glob("*.lock"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_S09_every_dependency_is_locked_by_its_hashes(lock: Path) -> None:
    """
    Each requirement has one version and the hashes of its files.
    """
    text = re.sub(r"^\s*#.*\n", "", lock.read_text(), flags=re.MULTILINE)
    requirements = [part for part in re.split(r"\n(?=\S)", text.strip()) if part]

    assert len(requirements) > 1
    for requirement in requirements:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==[\w.]+[ ;\\]", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement


@pytest.mark.parametrize("name", ["Dockerfile", "tools/setup"])
def test_S09_nothing_is_installed_outside_the_locks(name: str) -> None:
    """
    Every pip install requires hashes, or installs the program without dependencies.
    """
    text = (ROOT / name).read_text().replace("\\\n", " ")
    commands = re.split(r"&&|\|\||\n", text)
    installs = [line for line in commands if re.search(r"\bpip\b.*\binstall\b", line)]

    assert len(installs) >= 2
    for line in installs:
        assert "--require-hashes" in line or "--no-deps" in line, line


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_S09_every_action_is_pinned_by_its_commit(workflow: Path) -> None:
    """
    A tag can be moved, so each action is pinned to a commit, with its version in a comment.
    """
    used = re.findall(r"uses: *(\S+)( *# *v[\d.]+)?", workflow.read_text())

    assert used
    for action, version in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert version, f"{action} has no version comment"


def test_S09_a_release_is_gated_listed_and_signed() -> None:
    """
    The release fails below nginx's minimum version before the push, attaches the SBOM and the
    provenance, and signs the image.
    """
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()

    gate, push = text.index("tools/nginx-floor"), text.index("--push")
    assert gate < push < text.index("cosign sign")
    assert "--sbom=true" in text
    assert "--provenance=mode=max" in text
