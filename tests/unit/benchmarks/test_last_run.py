import math
from dataclasses import replace
from pathlib import Path

from benchmarks import last_run, page
from benchmarks.findings import Finding, Peer, Unit, Value
from benchmarks.last_run import Part

FINDING = Finding(
    measure="change",
    unit=Unit.MS,
    ours=Value(41.25, 3.5, 50),
    goal=45.0,
    peers=(Peer("consul-template", 105.0), Peer("replaced pattern", "never")),
    limit=Peer("nginx alone", 33.0),
)
PART = Part(
    date="2026-12-01",
    versions=("Python 3.11.7", "nginx 1.22.1"),
    processors=2,
    load=(0.25, 0.5),
    rounds=10,
    findings=(FINDING,),
)


def test_a_saved_run_is_read_as_it_was(tmp_path: Path) -> None:
    """
    Numbers are kept to four digits, the rest as it is.
    """
    file = tmp_path / "run.json"

    last_run.save({"change": PART}, file)

    assert {"change": PART} == last_run.read(file)


def test_without_a_saved_run_there_are_no_parts(tmp_path: Path) -> None:
    """
    The first run compares with nothing.
    """
    assert {} == last_run.read(tmp_path / "run.json")


def test_saving_a_part_keeps_the_others(tmp_path: Path) -> None:
    """
    A part is measured and saved alone; it has its own date and load.
    """
    file = tmp_path / "run.json"
    last_run.save({"change": PART, "stop": PART}, file)

    last_run.save({"stop": replace(PART, date="2026-12-02")}, file)

    assert {"change": PART, "stop": replace(PART, date="2026-12-02")} == last_run.read(file)


def test_what_has_no_value_is_left_out_and_reported(tmp_path: Path) -> None:
    """
    JSON has no NaN; a peer without a value is a text.
    """
    file = tmp_path / "run.json"
    none = replace(FINDING, measure="none", ours=Value(math.nan, math.nan, 0))
    peerless = replace(FINDING, peers=(Peer("consul-template", math.nan),))

    assert ["none"] == last_run.save({"change": replace(PART, findings=(none, peerless))}, file)

    (found,) = last_run.read(file)["change"].findings
    assert (Peer("consul-template", "none"),) == found.peers
    assert "NaN" not in file.read_text()


def test_the_page_shows_ours_the_peers_the_limit_and_how_it_was_measured() -> None:
    """
    The tables of docs/benchmarks.md are the saved run.
    """
    text = page.results({"change": PART})

    assert "| change | < 45.0 ms | 41.2 ms ± 3.5 | consul-template: 105 ms," in text
    assert "replaced pattern: never | nginx alone: 33.0 ms | yes |" in text
    assert "2026-12-01, Python 3.11.7, nginx 1.22.1, 2 processors, load 0.2 to 0.5" in text
