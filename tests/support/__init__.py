"""
Shared code of the tests: real servers, real clients and the real program, without mocks.
"""
