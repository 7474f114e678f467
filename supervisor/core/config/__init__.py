"""
Settings: the table, the parsers of values, and defaults from Nomad's environment variables.
"""
