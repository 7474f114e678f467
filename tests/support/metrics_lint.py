"""
The checks of `promtool check metrics`, and checks specific to this project.

The rules are those of prometheus/promlint; the text is parsed by the client library first, as a
scraper would.
"""

import re
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

#: Names of the official nginx-prometheus-exporter, which are not valid counter names.
OFFICIAL = frozenset({"nginx_connections_accepted", "nginx_connections_handled"})

_NAME = re.compile(r"(?:autoexit|nginx|process)_[a-z0-9_]+")
_UNITS = {
    "milliseconds", "minutes", "hours", "days", "ms", "kb", "mb", "percent", "kilobytes", "secs",
}  # fmt: skip
_TYPES = {"gauge", "counter", "histogram", "summary", "untyped"}


def families(text: str) -> list[Metric]:
    """
    Parse an exposition as a scraper does.
    """
    return list(text_string_to_metric_families(text))


def complaints(text: str) -> list[str]:
    """
    Return the problems of an exposition.
    """
    found = [each for family in families(text) for each in _of_family(family)]
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    found += [f"{name}: repeated type" for name in set(names) if names.count(name) > 1]
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    series = [line.rpartition(" ")[0] for line in lines]
    found += [f"{each}: a repeated series" for each in set(series) if series.count(each) > 1]
    return found


def _of_family(family: Metric) -> Iterator[str]:
    name = family.name
    words = name.split("_")
    if not family.documentation:
        yield f"{name}: no help text"
    if not _NAME.fullmatch(name):
        yield f"{name}: not in lower case, or without its prefix"
    if _UNITS & set(words):
        yield f"{name}: not in the base unit"
    if _TYPES & set(words):
        yield f"{name}: its type in its name"
    if family.type == "unknown" and name not in OFFICIAL:
        yield f"{name}: no type"
    for sample in family.samples:
        if family.type == "counter" and not sample.name.endswith("_total"):
            yield f"{sample.name}: a counter without _total"
        if family.type != "counter" and sample.name.endswith("_total"):
            yield f"{sample.name}: _total without being a counter"
        if family.type == "gauge" and sample.name.endswith(("_count", "_sum", "_bucket")):
            yield f"{sample.name}: reserved for histograms"
        if family.type != "histogram" and "le" in sample.labels:
            yield f"{sample.name}: the label le is for histograms"
        if not all(re.fullmatch(r"[a-z_]+", label) for label in sample.labels):
            yield f"{sample.name}: a label that is not in lower case"
