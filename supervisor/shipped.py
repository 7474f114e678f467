"""
The files that ship beside the code: the templates of nginx's configuration, and the pages.
"""

from pathlib import Path


def folder() -> Path:
    """
    Return where they are: in the installed package, or at the top of a checkout.
    """
    here = Path(__file__).parent
    installed = here / "templates"
    return installed if installed.is_dir() else here.parent / "nginx"
