"""Every public name that a page, the README or a tutorial imports is in the reference."""

import ast
import importlib
import inspect
import json
import re
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = ("vitdecomp", "vitdecomp_alignment", "vitdecomp_adapters")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"^::: (\S+)\n((?:    .*\n|\n)*)", re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if "examples" not in p.parts)]


def codes():
    """All Python of the pages and tutorials, with the name of its page."""
    for page in PAGES:
        yield from ((page.name, code) for code in BLOCK.findall(page.read_text(encoding="utf-8")))
    for page in sorted(DOCS.glob("tutorials/*.ipynb")):
        cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
        yield page.name, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def used(code):
    """The names of ours that a piece of code imports, or takes from a package that it imports, as dotted paths."""
    tree, short = ast.parse(code), {"vd": "vitdecomp"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        if isinstance(node, ast.Import):
            short |= {name.asname or name.name: name.name for name in node.names if name.name in PACKAGES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            written = ast.unparse(node)
            if re.fullmatch(r"\w+(\.\w+)+", written) and written.split(".")[0] in short:
                head, *rest = written.split(".")
                yield ".".join((short[head], rest[0]))


def resolved(path):
    """The module or object that a dotted path names."""
    parent, _, name = path.rpartition(".")
    room = importlib.import_module(parent or path)
    return (
        getattr(room, name) if parent and hasattr(room, name) else room if not parent else importlib.import_module(path)
    )


def documented():
    """All objects that the reference shows: of a module its members, or those that it names."""
    found = []
    for path, options in DIRECTIVE.findall((DOCS / "reference.md").read_text(encoding="utf-8")):
        shown = resolved(path)
        members = re.search(r"members: \[(.*?)\]", options, re.DOTALL)
        names = re.findall(r"\w+", members.group(1)) if members else public(shown)
        found += [shown, *(getattr(shown, name) for name in names)]
    return found


def public(shown):
    if not isinstance(shown, types.ModuleType):
        return []
    own = [n for n, value in vars(shown).items() if getattr(value, "__module__", "") == shown.__name__]
    return getattr(shown, "__all__", [name for name in own if not name.startswith("_")])


USED = sorted({(path, page) for page, code in codes() for path in used(code)})


@pytest.fixture(scope="module")
def shown():
    return documented()


def test_pages_use_many_names():
    assert len({path for path, _ in USED}) > 50
    assert len({page for _, page in USED}) > 12


@pytest.mark.parametrize("path", sorted({path for path, _ in USED}))
def test_the_reference_has_it(path, shown):
    one = resolved(path)
    if isinstance(one, types.ModuleType):
        assert inspect.getdoc(one)  # a room: its names are looked up where they are used
        return
    pages = [page for other, page in USED if other == path]
    assert any(one is other for other in shown), f"{path}, used on {', '.join(pages)}, is not in docs/reference.md"


def test_a_name_that_is_missing_is_noticed(shown):
    from vitdecomp._utils.files import atomic

    assert not any(atomic is other for other in shown)
    assert list(used("import vitdecomp as v\nv.explain(1)\nfrom vitdecomp.x import y")) == [
        "vitdecomp.x.y",
        "vitdecomp.explain",
    ]
