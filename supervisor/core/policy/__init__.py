"""
The policy: which commands follow from each event.
"""
