"""
Parse an instance's tags `lb.weight=N`, `lb.backup` and `lb.drain`; all other tags are ignored.

Tags are free text chosen by a job's author, so they are matched in full and never copied: the
result is a number within bounds and two booleans.  An unknown tag with the prefix is counted, so
that a typing error (`lb.wieght=3`) can be reported; it has no other effect.
"""

import re

from supervisor.core.model import ServerOptions

_PREFIX = "lb."
_WEIGHT = re.compile(r"lb\.weight=([1-9][0-9]{0,2}|1000)")
_BACKUP = "lb.backup"
_DRAIN = "lb.drain"

_DEFAULT = ServerOptions()


def parse(tags: object) -> tuple[ServerOptions, int]:
    """
    Parse the tags of one instance; return its options and how many `lb.` tags are invalid.

    Weights that contradict each other are all invalid.
    """
    if not isinstance(tags, list):  # Nomad sends null if there are none
        return _DEFAULT, 0
    prefixed = [tag for tag in tags if isinstance(tag, str) and tag.startswith(_PREFIX)]
    if not prefixed:
        return _DEFAULT, 0
    weights, invalid = [], 0
    for tag in prefixed:
        match = _WEIGHT.fullmatch(tag)
        if match:
            weights.append(int(match[1]))
        elif tag not in (_BACKUP, _DRAIN):
            invalid += 1
    weight = weights[0] if weights else 1
    if len(weights) > 1 and len(set(weights)) > 1:
        weight, invalid = 1, invalid + len(weights)
    return ServerOptions(weight, _BACKUP in prefixed, _DRAIN in prefixed), invalid
