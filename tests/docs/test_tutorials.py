"""The tutorials run, and print what they promise."""

import copy
import importlib.util
import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def loaded(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


notebooks = loaded("notebooks")
NAMES = notebooks.names()


def test_there_are_six_and_all_are_in_the_navigation():
    navigation = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    assert len(NAMES) == 6
    assert sorted(re.findall(r"tutorials/(\w+)\.ipynb", navigation)) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_prints_what_it_promises(name):
    assert "\n".join(notebooks.differences(notebooks.read(name), notebooks.executed(name))) == ""


@pytest.mark.parametrize("name", NAMES)
def test_it_is_kept_without_what_depends_on_the_machine(name):
    notebook = notebooks.read(name)
    assert notebooks.cleaned(copy.deepcopy(notebook)) == notebook
    for cell in notebook.cells:
        streams = [output.name for output in cell.get("outputs", ()) if output.output_type == "stream"]
        assert set(streams) <= {"stdout"}, notebooks.printed(cell)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_figure_a_control_and_links_to_pages_that_are_there(name):
    notebook = notebooks.read(name)
    figures = [cell for cell in notebook.cells if notebooks.pictures(cell)]
    assert figures
    assert all(len(cell.metadata.get("alt", "")) > 60 for cell in figures)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.search("control|chance|break|random", text, re.IGNORECASE)
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text)
    assert any("how-to/" in link or "../" in link for link in links)
    assert [link for link in links if not (notebooks.TUTORIALS / link).exists()] == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("93%", "91%", True),
        ("93%", "83%", False),
        ("0.58", "0.57", True),
        ("0.58", "0.48", False),
        ("70", "70", True),
        ("70", "71", False),
        ("2e-07", "5e-07", True),
        ("2e-07", "5e-02", False),
    ],
)
def test_numbers_may_differ_by_what_a_machine_changes(one, other, same):
    assert notebooks.alike(one, other) is same


def test_another_word_another_number_and_a_missing_figure_are_noticed():
    promised = notebooks.read("words")
    for place, change in ((2, ("dino", "deit")), (8, ("28 of 48", "18 of 48"))):
        found = copy.deepcopy(promised)
        (output,) = found.cells[place].outputs
        output.text = output.text.replace(*change)
        assert len([*notebooks.differences(promised, found)]) == 1
    found = copy.deepcopy(promised)
    found.cells[9].outputs = []
    assert len([*notebooks.differences(promised, found)]) == 1
    assert not [*notebooks.differences(promised, promised)]


def test_a_page_shows_text_code_output_and_figure():
    pytest.importorskip("mkdocs")
    hooks = loaded("hooks")
    cells = json.loads((DOCS / "tutorials" / "words.ipynb").read_text(encoding="utf-8"))["cells"]
    text, code, drawn = (hooks.blocks(cells[place]) for place in (0, 2, 9))
    assert text[0].startswith("# From contributions to words")
    assert code[0].startswith("```python\n")
    assert code[1].startswith("```text\nContributions: 300 images")
    assert re.match(r"!\[A grid .*\]\(data:image/png;base64,\S+\)$", drawn[1])
