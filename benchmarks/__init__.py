"""
Measures the supervisor's cost and speed beside its peers and the pattern it replaces.

Run as `python -m benchmarks`.  Only values measured in the same run are comparable, so all programs
alternate within each measurement; the output is markdown.  A finding is data, with its noise: so
that a run can be saved, compared with the next one, and shown in docs/benchmarks.md.
"""
