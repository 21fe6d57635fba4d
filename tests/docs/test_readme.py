"""The README and the front page: what they print is what the code prints, and what they show is there."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from zoo import ZOO

import vitdecomp as vd

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = README, ROOT / "docs" / "index.md"
ROUNDING = re.compile(r"\d\.\de-\d\d")  # the last digits of a sum depend on the machine
PAIR = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_prints_what_stands_below_it(page):
    ((code, shown),) = PAIR.findall(page.read_text(encoding="utf-8"))
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, page.name, "exec"), {})
    assert ROUNDING.sub("E", printed.getvalue()) == ROUNDING.sub("E", shown)
    errors = [float(number) for text in (shown, printed.getvalue()) for number in ROUNDING.findall(text)]
    assert len(errors) == 2
    assert max(errors) < 1e-5


def test_both_pages_begin_alike():
    readme, front = (page.read_text(encoding="utf-8").partition("\n## Start")[0] for page in PAGES)
    assert readme.replace("](docs/", "](") == front


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pictures_are_there_small_and_described(page):
    found = re.findall(r"!\[(.*?)\]\((.*?)\)", page.read_text(encoding="utf-8"))
    assert len(found) == 4
    for described, name in found:
        assert len(described) > 40
        assert 10_000 < (page.parent / name).stat().st_size < 200_000


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", README.read_text(encoding="utf-8"))
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_number_of_methods_is_that_of_the_package():
    (count,) = re.findall(r"\[(\d+) methods\]", README.read_text(encoding="utf-8"))
    assert int(count) == len(vd.explainers())


def test_the_table_of_families_has_all_and_they_are_exact_and_covered():
    page = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \|.*\| (\d+) of (\d+) \| (\de-\d\d) \|$", page, re.MULTILINE)
    assert [name.replace(" ", "_") for name, *_ in rows] == list(ZOO)
    assert all(reached == blocks and float(error) <= 1e-12 for _, reached, blocks, error in rows)
