"""
Rules that decide what to do about an event.
"""
