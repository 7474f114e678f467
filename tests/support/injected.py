"""
Defects injected into the program under test, as an error in its code would be.
"""

from pathlib import Path


def inject(folder: Path, module: str, *names: str) -> Path:
    """
    Let these functions of a module raise KeyError while the returned file exists.

    The program needs `PYTHONPATH=folder`; a name must be replaced in the module that imports it, if
    that imports it first.
    """
    trigger = folder / "now"
    (folder / "sitecustomize.py").write_text(
        f"""
import os, sys
if "supervisor" in " ".join(sys.orig_argv):
    import {module} as module

    def breaking(whole):
        def broken(*args, **kwargs):
            if os.path.exists({str(trigger)!r}):
                raise KeyError("injected")
            return whole(*args, **kwargs)

        return broken

    for name in {names!r}:
        setattr(module, name, breaking(getattr(module, name)))
"""
    )
    return trigger
