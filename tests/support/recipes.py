"""
The recipes of the documentation, as a reader would apply them.

A recipe is what a section of a page contains: settings in blocks of HCL, and files in blocks of
nginx's language that begin with their name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from tests.support.checkout import CHECKOUT
from tests.support.supervised import Supervised

DOCS = CHECKOUT / "docs"

_HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SETTING = re.compile(r'^  ([A-Z_]+) += "([^"]*)"', re.MULTILINE)
_FILE = re.compile(r"# (conf\.d|server\.d)/(\S+\.conf)\n")


@dataclass(frozen=True, slots=True)
class Recipe:
    """
    The settings, the files by folder and name, and the shell commands of a section.
    """

    settings: dict[str, str]
    files: dict[tuple[str, str], str]
    commands: tuple[str, ...]


def headings(page: str) -> list[str]:
    """
    Return the headings of a page, without its title.
    """
    return _HEADING.findall((DOCS / page).read_text())


def recipe(page: str, heading: str) -> Recipe:
    """
    Return the recipe of a section; raises ValueError if it has neither settings nor files.
    """
    text = (DOCS / page).read_text()
    start = text.index(f"# {heading}\n") + len(heading) + 3
    end = _HEADING.search(text, start)
    settings, files, commands = dict[str, str](), dict[tuple[str, str], str](), list[str]()
    for language, body in _BLOCK.findall(text[start : end.start() if end else None]):
        if language == "hcl":
            settings.update(_SETTING.findall(body))
        elif language == "nginx" and (name := _FILE.match(body)):
            files[name[1], name[2]] = body
        elif language == "sh":
            commands.append(body)
    if not settings and not files:
        raise ValueError(f"cannot find a recipe in {page}: {heading}")
    return Recipe(settings, files, tuple(commands))


def apply(
    found: Recipe, subject: Supervised, replaced: Mapping[str, str] | None = None
) -> Supervised:
    """
    Give a subject that has not been started the settings and files of a recipe.

    `replaced` are texts in the files that are different on this machine: ports and folders.
    """
    subject.settings.update(found.settings)
    for (folder, name), text in found.files.items():
        for old, new in (replaced or {}).items():
            text = text.replace(old, new)  # noqa: PLW2901 - one text, several replacements
        subject.write_in(cast("Literal['conf.d', 'server.d']", folder), name, text)
    return subject
