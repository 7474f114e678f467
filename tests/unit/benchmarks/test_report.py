from benchmarks import report
from benchmarks.comparison import Comparison
from benchmarks.findings import Unit, Value


def test_the_comparison_marks_only_what_has_moved() -> None:
    """
    Each row has the last run, this one, the change, and a mark if that exceeds the noise.
    """
    rows = report.compared(
        [
            Comparison("slower", Unit.MS, Value(50, 2, 50), Value(60, 2, 50)),
            Comparison("faster", Unit.MS, Value(50, 2, 50), Value(40, 2, 50)),
            Comparison("noise", Unit.MS, Value(50, 2, 50), Value(51, 2, 50)),
            Comparison("lost", Unit.COUNT, Value(0, 0, 1), Value(3, 0, 1)),
            Comparison("fewer", Unit.COUNT, Value(9, 0, 1), Value(6, 0, 1)),
            Comparison("new", Unit.MS, None, Value(51, 2, 50)),
        ]
    ).splitlines()[2:]

    assert [
        "| slower | 50.0 ms ± 2.0 | 60.0 ms ± 2.0 | +20 % | **worse** |",
        "| faster | 50.0 ms ± 2.0 | 40.0 ms ± 2.0 | -20 % | better |",
        "| noise | 50.0 ms ± 2.0 | 51.0 ms ± 2.0 | +2 % |  |",
        "| lost | 0 | 3 | +3 | **worse** |",
        "| fewer | 9 | 6 | -3 | better |",
        "| new | not measured | 51.0 ms ± 2.0 |  |  |",
    ] == rows
