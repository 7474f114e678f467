"""
What the supervisor costs and how fast it is, beside the pattern that it replaces.

Run as `python -m benchmarks`.  Only what was measured in the same run may be compared, so both
sides take turns within each measure; what is printed is markdown.
"""
