"""The code on the how-to pages runs: all blocks of a page in one namespace, in their order."""

import inspect
import re
import sys
import types
from pathlib import Path

import pytest

from vitdecomp.models.adapter import ADAPTERS
from vitdecomp.sources.aligner import ALIGNERS
from vitdecomp.testing import AdapterContract

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def run_page(monkeypatch):
    """Runs a page and gives the module that its code would be."""

    def run(name):
        module = types.ModuleType(f"howto_{name.replace('-', '_')}")
        monkeypatch.setitem(sys.modules, module.__name__, module)  # timm looks up who registers a model
        return execute(name, module)

    return run


def execute(name, module):
    page = PAGES / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        # Empty lines in front give errors the page's own line numbers.
        code = "\n" * text[: block.start(1)].count("\n") + block.group(1)
        exec(compile(code, str(page), "exec"), module.__dict__)
    return module


def contracts(module):
    return [c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, AdapterContract)]


def test_the_adapter_of_the_page_keeps_the_contract(run_page):
    try:
        module = run_page("adapter")
        classes = [c for c in contracts(module) if c is not AdapterContract]
        assert [c.__name__ for c in classes] == ["TestGlimpse"]
        for name in [n for n in dir(classes[0]) if n.startswith("test_")]:
            getattr(classes[0](), name)()
    finally:
        ADAPTERS.remove("glimpse")


def test_the_aligner_of_the_page_keeps_the_contract(run_page):
    try:
        contract = run_page("aligner").TestRotation()
        for name in [n for n in dir(contract) if n.startswith("test_")]:
            getattr(contract, name)()
    finally:
        ALIGNERS.remove("rotation")


def test_the_searches_of_the_page_find_what_they_say(run_page, capsys):
    module = run_page("search")
    assert capsys.readouterr().out.count("forest") == 3
    assert (module.alike[0].row, len(module.many), module.rows.tolist()[0][0]) == (7, 5, 7)


def test_a_new_timm_backbone(run_page, capsys):
    module = run_page("timm-backbone")
    assert "coverage: 6 of 6" in capsys.readouterr().out
    assert module.dec.report_.model == "timm:my_backbone"


def test_a_function_makes_the_output_of_the_page(run_page):
    report = run_page("load").mean.report_
    assert (report.model, report.dimension) == ("timm:test_vit", 64)
    assert report.output.startswith("howto_load.<lambda>@")


@pytest.mark.parametrize("page", sorted(p.stem for p in PAGES.glob("*.md")))
def test_no_python_goes_unmarked_and_so_unrun(page):
    blocks = (PAGES / f"{page}.md").read_text(encoding="utf-8").split("```")[1::2]
    assert not [code for code in blocks if code.startswith("\n") and ("import " in code or "def " in code)]
