"""
The path of this checkout.
"""

from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent
