"""The support table: one row measured anew, and the page made of what is known."""

from __future__ import annotations

import json
from pathlib import Path

import support_candidates
import support_page
from support import main
from support_row import row

from vitdecomp.models.support import read_table, status


def test_a_row_is_measured() -> None:
    (family,) = [one for one in support_candidates.families("transformers") if one.name == "ViTModel"]
    found = row(support_candidates.build(family))
    assert found["error"] < 1e-12
    assert found["errors"]["float32"] < 1e-5
    assert (found["attentions"], found["heads"], found["missing"]) == (2, [2], 0)
    assert status(json.loads(json.dumps(found))) == f"exact, all {found['blocks']} blocks"


def test_rows_that_are_there_are_not_measured_again(tmp_path: Path) -> None:
    table, page = tmp_path / "table.json", tmp_path / "page.md"
    known = {"torchvision/vgg": {"failed": "over 3 s"}}
    table.write_text(json.dumps(known))
    main(library=["torchvision"], family=["vgg"], table=table, page_file=page, again=False, page_only=False)
    assert read_table(table) == known
    assert "- *vgg*: over 3 s." in page.read_text()


def test_a_row_that_takes_too_long_is_given_up_and_told(tmp_path: Path) -> None:
    table, page = tmp_path / "table.json", tmp_path / "page.md"
    main(library=["torchvision"], family=["vgg"], table=table, page_file=page, seconds=0.1, again=True, page_only=False)
    assert read_table(table) == {"torchvision/vgg": {"failed": "over 0.1 s"}}


def test_the_shipped_table_holds_what_models_tells() -> None:
    rows = read_table()
    assert {key.partition("/")[0] for key in rows} == set(support_candidates.LIBRARIES)
    page = (Path(__file__).parents[2] / "docs" / "support.md").read_text(encoding="utf-8")
    assert page == support_page.page(rows)
