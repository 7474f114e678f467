"""
Measures the supervisor's cost and speed against the pattern it replaces.

Run as `python -m benchmarks`.  Only values measured in the same run are comparable, so both
programs alternate within each measurement; the output is markdown.
"""
