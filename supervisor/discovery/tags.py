"""
What the tags of an instance ask for: one prefix, three words, and nothing else counts.

Tags are free text that a job's author chose, so they are matched in full and never copied: what
comes out is a number within bounds and two booleans.  A tag with our prefix that makes no sense is
counted, so that a slip (`lb.wieght=3`) can be said; it never changes anything.
"""

import re

from supervisor.core.model import ServerOptions

_PREFIX = "lb."
_WEIGHT = re.compile(r"lb\.weight=([1-9][0-9]{0,2}|1000)")
_BACKUP = "lb.backup"
_DRAIN = "lb.drain"

_USUAL = ServerOptions()


def parse(tags: object) -> tuple[ServerOptions, int]:
    """
    Read the tags of one instance: what it asks for, and how many tags of ours make no sense.

    Weights that contradict each other make no sense, all of them.
    """
    if not isinstance(tags, list):  # Nomad says null where there are none
        return _USUAL, 0
    ours = [tag for tag in tags if isinstance(tag, str) and tag.startswith(_PREFIX)]
    if not ours:
        return _USUAL, 0
    weights, odd = [], 0
    for tag in ours:
        match = _WEIGHT.fullmatch(tag)
        if match:
            weights.append(int(match[1]))
        elif tag not in (_BACKUP, _DRAIN):
            odd += 1
    weight = weights[0] if weights else 1
    if len(weights) > 1 and len(set(weights)) > 1:
        weight, odd = 1, odd + len(weights)
    return ServerOptions(weight, _BACKUP in ours, _DRAIN in ours), odd
