"""Makes a page's pictures when the site is built: its ```python blocks are run, in a folder of their own.

A block saves what it draws, `axes.figure.savefig("name.svg")`, and the page shows `generated/PAGE/name.svg`.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```python *\n(.*?)^``` *$", re.MULTILINE | re.DOTALL)
#: Pages whose blocks draw.
PAGES = ("study",)


def draw(app: Any) -> None:
    """Run the blocks of every page that draws; an error in one ends the build."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "rnncore", "svg.fonttype": "path", "savefig.bbox": "tight"}
    for page in PAGES:
        folder = Path(app.srcdir) / "generated" / page
        folder.mkdir(parents=True, exist_ok=True)
        code = "\n".join(BLOCK.findall((Path(app.srcdir) / f"{page}.md").read_text("utf-8")))
        with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, f"{page}.md", "exec"), {"__name__": "__docs__"})
        plt.close("all")


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx; called by it."""
    app.connect("builder-inited", draw)
    return {"parallel_read_safe": True}
