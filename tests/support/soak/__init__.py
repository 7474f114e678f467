"""
Changes and traffic for as long as one likes, and the question whether anything grew meanwhile.
"""
