"""Make the figures of docs/how-to/other-inputs.md by its own code: `python docs/other_inputs.py` (about a minute)."""

from __future__ import annotations

import os
import re
from pathlib import Path

DOCS = Path(__file__).parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Run the page in the folder of the figures."""
    page, scope = (DOCS / "how-to" / "other-inputs.md").read_text(encoding="utf-8"), dict[str, object]()
    os.chdir(DOCS / "images")
    for block in BLOCK.findall(page):
        exec(compile(block, "other-inputs.md", "exec"), scope)


if __name__ == "__main__":
    main()
