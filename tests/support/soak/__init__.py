"""
Changes and traffic for any duration, and checks that no resource grows.
"""
