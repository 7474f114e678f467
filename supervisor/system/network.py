"""
The addresses of this host.
"""

import socket

import psutil


def local_addresses() -> tuple[str, ...]:
    """
    Return the addresses of the host or the container as text, without zones.
    """
    try:
        found = psutil.net_if_addrs()
    except OSError:
        return ()  # the addresses in Nomad's variables are used in any case
    families = {socket.AF_INET, socket.AF_INET6}
    all_entries = (entry for entries in found.values() for entry in entries)
    return tuple(
        sorted(
            {entry.address.partition("%")[0] for entry in all_entries if entry.family in families}
        )
    )
