"""OpenImages V7: one record for each class that an image shows, annotated at its points alone."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from mask_files import SIZE, photograph

from vitdecomp import InputError
from vitdecomp.datasets.masks import open_masked_images

HEADER = "ImageId,X,Y,Label,EstimatedYesNo,Source,YesVotes,NoVotes,UnsureVotes,TextLabel"
ROWS = [
    "b7,0.5,0.25,/m/0cat,yes,ih,3,0,0,",
    "b7,0.0,1.0,/m/0cat,no,ih,0,3,0,",
    "b7,0.9,0.9,/m/0cat,unsure,ih,1,1,1,",
    "b7,0.5,0.25,/m/0sky,no,cc,0,3,0,sky",  # no point of it is answered by yes
    "a1,1.0,0.0,/m/0sky,yes,cc,1,0,0,sky",
    "a1,0.1,0.1,/m/0cat,yes,ih,3,0,0,",
    "gone,0.1,0.1,/m/0cat,yes,ih,3,0,0,",
]


@pytest.fixture
def points(tmp_path: Path) -> Path:
    path = tmp_path / "oidv7-val-annotations-point-labels.csv"
    write(path, ROWS)
    for name in ("a1", "b7", "other"):
        photograph(tmp_path / "validation" / f"{name}.jpg")
    return path


def write(path: Path, rows: list[str], header: str = HEADER) -> None:
    path.write_text("\n".join([header, *rows]) + "\n")


def test_points_of_a_class_in_an_image_are_a_record(points: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = open_masked_images(points)
    assert [record.id for record in found] == ["a1/m/0cat", "a1/m/0sky", "b7/m/0cat"]
    assert [record.image_id for record in found] == ["a1", "a1", "b7"]
    assert [record.class_name for record in found] == ["/m/0cat", "sky", "/m/0cat"]
    assert all(record.points for record in found)
    assert "1 images of" in caplog.text
    expected = np.full(SIZE, -1)
    expected[5, 15], expected[19, 0] = 1, 0
    assert np.array_equal(found[2].mask(), expected)
    assert found[1].mask()[0, 29] == 1


def test_the_folder_and_its_names_of_classes_are_enough(points: Path) -> None:
    (points.parent / "oidv7-class-descriptions.csv").write_text("LabelName,DisplayName\n/m/0cat,Cat\n/m/0sky,Sky\n")
    found = open_masked_images(points.parent)
    assert [record.class_name for record in found] == ["Cat", "Sky", "Cat"]
    (points.parent / "oidv7-class-descriptions.csv").write_text("/m/0cat,Cat\n/m/0sky,Sky\n")
    assert open_masked_images(points.parent)[0].class_name == "Cat"


def test_images_may_lie_elsewhere(points: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with pytest.raises(InputError, match=r"the images of .* are not in .*: give their folder \(images=, --images\)"):
        open_masked_images(points, images=elsewhere)
    photograph(elsewhere / "gone.png")
    assert [record.id for record in open_masked_images(points, images=elsewhere)] == ["gone/m/0cat"]


def test_a_yes_and_a_no_on_one_pixel_are_no_annotation(points: Path) -> None:
    write(
        points, ["a1,0.5,0.5,/m/0,yes", "a1,0.501,0.501,/m/0,no", "a1,0.1,0.1,/m/0,Yes"], HEADER.partition(",Source")[0]
    )
    mask = open_masked_images(points)[0].mask()
    assert (mask == 1).sum() == 1
    assert (mask == 0).sum() == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b7,0.5,0.25,/m/0cat,maybe,,,,,", r"labels.csv, line 9: EstimatedYesNo is maybe, which should be yes, no or"),
        ("b7,1.5,0.25,/m/0cat,yes,,,,,", r"labels.csv, line 9: X is 1.5, which should be 0 .. 1"),
        ("b7,0.5,-0.25,/m/0cat,yes,,,,,", r"labels.csv, line 9: Y is -0.25, which should be 0 .. 1"),
        ("b7,left,0.25,/m/0cat,yes,,,,,", r"cannot read .*labels.csv: .*conversion error to double"),
        ("b7,0.5", r"cannot read .*labels.csv: .*Expected 10 columns, got 2"),
    ],
)
def test_other_values_are_refused(points: Path, row: str, message: str) -> None:
    write(points, [*ROWS, row])
    with pytest.raises(InputError, match=message) as error:
        open_masked_images(points)
    assert "\n" not in str(error.value)


def test_tables_without_points_are_refused(points: Path) -> None:
    write(points, ROWS, HEADER.replace("EstimatedYesNo", "Answer"))
    with pytest.raises(InputError, match=r"has no column 'EstimatedYesNo': point labels have ImageId, X, Y, Label"):
        open_masked_images(points, "open-images")
    write(points, [row.replace("yes", "unsure").replace("no", "unsure") for row in ROWS])
    with pytest.raises(InputError, match=r"has no point that was answered by yes or no"):
        open_masked_images(points)
    write(points, [row.replace(",yes", ",no") for row in ROWS])
    with pytest.raises(InputError, match=r"no point of them was answered by yes"):
        open_masked_images(points)
