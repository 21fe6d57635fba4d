"""Tables are read as people and spreadsheets write them, and a fault is told with its line."""

import csv

import pytest

import vitdecomp as vd
from vitdecomp.datasets.csv_table import IMAGE, read_table


def table(place, content, name="t.csv"):
    path = place / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path)


@pytest.mark.parametrize(
    "content",
    [
        'path,label\n"a, b.png",cat\nc.png,"a ""dog"""\n',
        '\ufeffpath, label\r\n"a, b.png", cat\r\n\r\nc.png, "a ""dog"""\r\n',
        'path;label\n"a, b.png";cat\nc.png;"a ""dog"""',
        'path\tlabel\na, b.png\tcat\nc.png\t"a ""dog"""\n',
        'path,label,\n"a, b.png",cat,\nc.png,"a ""dog""",\n,,\n',
        'path,label\n"a, b.png",cat\nc.png,"a ""dog"""\n'.encode("utf-16"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt"])
def test_the_same_table_written_in_many_ways(tmp_path, content, name):
    found = table(tmp_path, content, name)
    assert found.columns == ("path", "label")
    assert found.rows == (("a, b.png", "cat"), ("c.png", 'a "dog"'))
    assert found.column("label") == ["cat", 'a "dog"']


def test_cells_may_hold_whatever_lines_hold_elsewhere(tmp_path):
    found = table(tmp_path, 'path,label\n"a\nb.png",x\u2028y\nc.png,\x0b1\n')
    assert found.rows == (("a\nb.png", "x\u2028y"), ("c.png", "1"))
    assert found.lines == (2, 4)


def test_columns_are_found_in_whatever_case(tmp_path):
    found = table(tmp_path, "ID,Image Path,Image\n1,a.png,b.png\n")
    assert found.find(IMAGE) == "Image"
    assert found.find(["image-path"]) == "Image Path"
    assert found.find(["label"]) is None
    both = table(tmp_path, "Image,image\na.png,b.png\n")
    assert both.find(["image"]) == "image"
    assert both.find(["IMAGE"]) == "Image"
    with pytest.raises(vd.SpecError, match="has no column 'imaeg'; did you mean Image"):
        found.require(["imaeg"])
    with pytest.raises(vd.SpecError, match="has no column 'xyz'; there are: ID, Image Path, Image"):
        found.require(["xyz"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("path,label\na.png,cat\nb.png\n", "line 3: fewer cells than columns"),
        ("path,label\n\na.png,cat\nb.png,dog,x\n", "line 4: more cells than columns"),
        ('path,label\na.png,cat\n"b.png,dog\nc.png,cat\n', "line 3: unexpected end of data"),
        ("path,path\na.png,b.png\n", "two columns are called path"),
        (b"path,label\na.png,cat\nb\xe4r.png,dog\n", "line 3: it is not text in UTF-8"),
        (b"path,label\na.png,c\0at\n", "line 2: it is not text"),
        (b"\xff\xfe\x00", "it is not text in UTF-8"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path, content, told):
    with pytest.raises(vd.InputError, match=rf"t\.csv.*{told}") as caught:
        table(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_cell_that_must_be_filled(tmp_path):
    found = table(tmp_path, "path,label\na.png,\n\nb.png,dog\n")
    assert found.filled("path") == ["a.png", "b.png"]
    with pytest.raises(vd.InputError, match=r"t\.csv, line 2: no label"):
        found.filled("label")


def test_what_is_no_file_is_one_error(tmp_path):
    with pytest.raises(vd.InputError, match=r"cannot read .*it is a folder"):
        read_table(tmp_path)
    assert table(tmp_path, "").columns == ()


def test_a_cell_may_be_long_and_hold_any_line_separator(tmp_path):
    before, note = csv.field_size_limit(), "x" * 300_000
    (tmp_path / "t.csv").write_text(f"image,label,note\na.png,²,{note}\nb.png,[red],one\u2028two\n", encoding="utf-8")
    found = read_table(tmp_path / "t.csv")
    assert found.column("note") == [note, "one\u2028two"]
    assert found.column("label") == ["²", "[red]"]
    assert csv.field_size_limit() == before
