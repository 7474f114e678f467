"""
What the tests share: real servers, real clients and the real program, nothing mocked.
"""
