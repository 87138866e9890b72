"""From run folders to tables, plots and one self-contained page.

Figures are drawn without a screen, whatever MPLBACKEND says: Matplotlib reads it when it is first imported, and fails
where it is nothing that it knows.
"""

import os

_backend = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib  # noqa: F401
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend
