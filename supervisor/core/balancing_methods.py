"""
The table of load-balancing methods, with all properties of a method in its row.
"""

from typing import NamedTuple


class Method(NamedTuple):
    """
    The properties of one LB_METHOD.

    `directive` is written to the upstream block, with `{key}` for the hash key.  `takes_backup`
    means that nginx accepts `backup` servers with it, `keeps_order` that the order of servers maps
    clients to servers and so must not rotate.  `max_weight` limits the sum of all weights, 0 for no
    limit.  `needs` names a setting that the method requires, and `needs_one_of` its values.
    """

    directive: str = ""
    takes_backup: bool = False
    keeps_order: bool = False
    max_weight: int = 0
    needs: str = ""
    needs_one_of: str = ""


METHODS: dict[str, Method] = {
    "round_robin": Method(takes_backup=True),
    "least_conn": Method("least_conn", takes_backup=True),
    "random": Method("random two least_conn"),
    "ip_hash": Method("ip_hash", keeps_order=True),
    # nginx keeps 160 points per unit of weight, in every worker: 4,000 units take 0.1 s and
    # 13 MB; the largest weights of a hundred endpoints would take seconds and 500 MB.
    "hash": Method(
        "hash {key} consistent",
        max_weight=4000,
        needs="LB_HASH_KEY",
        needs_one_of="ip, uri, header:NAME or cookie:NAME",
    ),
}
