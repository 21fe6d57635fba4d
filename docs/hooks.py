"""Show the tutorials as pages: MkDocs takes a notebook for a page, and reads it as Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

SUFFIX = ".ipynb"
PICTURE = "image/png"


class Notebook(File):
    """A file that is a page, so that links to it are links to the page."""

    def is_documentation_page(self) -> bool:
        """Say so."""
        return True


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take every notebook for a page."""
    for file in [each for each in files if each.src_uri.endswith(SUFFIX)]:
        files.remove(file)
        files.append(Notebook(file.src_uri, config.docs_dir, config.site_dir, config.use_directory_urls))
    return files


def on_page_read_source(page: Page, config: MkDocsConfig) -> str | None:
    """Read a notebook as Markdown."""
    if not page.file.src_uri.endswith(SUFFIX):
        return None
    path = Path(config.docs_dir, page.file.src_uri)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(block for cell in cells for block in blocks(cell)) + "\n"


def blocks(cell: dict[str, Any]) -> list[str]:
    """Write one cell: its text, or its code with what it prints and draws."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    return [fenced("python", source), *(shown(output, cell["metadata"].get("alt", "")) for output in cell["outputs"])]


def shown(output: dict[str, Any], description: str) -> str:
    """Write one output of a cell: a figure, or text."""
    data = output.get("data", {})
    if PICTURE in data:
        encoded = "".join(data[PICTURE]).replace("\n", "")
        return f"![{description}](data:{PICTURE};base64,{encoded})"
    return fenced("text", "".join(output.get("text") or data["text/plain"]).rstrip())


def fenced(language: str, text: str) -> str:
    """Put text into a block."""
    return f"```{language}\n{text}\n```"
