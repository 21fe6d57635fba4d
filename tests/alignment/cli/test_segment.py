"""`vitdecomp segment` as its users run it: its tables are the loop over images, one by one."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import in_process, launched, succeeded
from mask_files import gray, photograph, square
from torch import Tensor
from vitdecomp_alignment import ClipSpace, ClosedForm

import vitdecomp as vd
from vitdecomp.models.frame import MaskedPreprocess
from vitdecomp.models.squeezed import Squeezed
from vitdecomp.scenes import SceneDataset

pytestmark = pytest.mark.xdist_group("alignment-cli")
METHODS = ("decompose", "legrad", "random")
N = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes with masks, and a cache that all of these commands share."""
    place = tmp_path_factory.mktemp("segment")
    succeeded(in_process(place, "scenes", "--out", "scenes", "--n", N, "--masks", "--quiet"))
    return place


@pytest.fixture(scope="module")
def classes(place: Path) -> Path:
    """The same, in folders whose names are classes of scenes:deit."""
    for room in ("images", "masks"):
        for folder in (place / "scenes" / room).iterdir():
            name = folder.name if folder.name == "arrow" else f"red {folder.name}"
            shutil.copytree(folder, place / "classes" / room / name)
    return place / "classes"


def run(place: Path, *words: object, by: Any = in_process, code: int = 0) -> Any:
    return succeeded(by(place, "segment", *words, "--cache", "cache", columns=120), code)


def told(place: Path, *words: object, methods: tuple[str, ...] = METHODS) -> dict[str, Any]:
    named = [word for method in methods for word in ("--method", method)]
    found: dict[str, Any] = json.loads(run(place, *words, *named, "--batch-size", 2, "--json", "--quiet").stdout)
    return found


def assert_equal(found: dict[str, Any], expected: vd.metrics.Estimate, within: float = 2e-4) -> None:
    wanted = (expected.value, expected.low, expected.high, expected.n)
    assert (found["value"], found["low"], found["high"], found["n"]) == pytest.approx(wanted, abs=within)


def loop(model: vd.LoadedModel, folder: Path, directions: dict[str, Tensor], preprocess: Any = None) -> Any:
    """Go through images one by one; give the record, image, direction, maps and mask of each."""
    prepare, dec = MaskedPreprocess(preprocess or model.preprocess), None
    for record in vd.datasets.masks.open_masked_images(folder):
        pixels, mask = prepare(*record.load())
        dec = vd.Decomposer(model).fit(pixels[None]) if dec is None else dec
        q = directions[record.class_name or ""][None]
        maps = {method: vd.explain(dec, pixels[None], q, method) for method in METHODS}
        yield record, pixels[None], q, maps, mask[None], dec


def test_every_method_is_measured_as_in_a_loop_over_images(place: Path) -> None:
    found = told(place, "scenes:clip", "--masks", "scenes", "--squeeze", "--protocol", "imagenet-segmentation",
                 "--protocol", "foreground", "--metric", "deletion", "--metric", "randomization")  # fmt: skip
    assert found["explained"] == 'the text "a photo of a {}" with the class of each mask'
    model, clip = vd.load_model("scenes:clip"), ClipSpace("scenes:clip")
    texts = {name: clip.encode_text([f"a photo of a {name}"])[0] for name in SceneDataset(1).classes}
    protocols = ("imagenet-segmentation", "foreground")
    slow = {(p, m): vd.metrics.Segmentation(p) for p in protocols for m in METHODS}
    faithful: dict[tuple[str, str], list[Tensor]] = {}
    twin = vd.Decomposer(replace(model, module=vd.metrics.randomized(model.module))).fit(torch.rand(1, 3, 64, 64))
    for record, image, q, maps, mask, _ in loop(model, place / "scenes", texts, Squeezed(model.preprocess)):

        def score(images: Tensor, rows: Tensor, q: Tensor = q) -> Tensor:
            return torch.cosine_similarity(clip.encode_image(images), q)

        for method, each in maps.items():
            for protocol in protocols:
                slow[protocol, method].add(each.grid[:, 0], mask, images=[record.image_id])
            values = each.values[:, 0]
            other = vd.explain(twin, image, q, method).values[:, 0]
            for name, value in (
                ("deletion", vd.metrics.FAITHFULNESS["deletion"](score, image, values)),
                ("randomization", vd.metrics.spearman(values, other)),
            ):
                faithful.setdefault((name, method), []).append(value)
    for (protocol, method), each in slow.items():
        for measure, estimate in each.result().estimates().items():
            assert_equal(found["tables"][protocol]["methods"][method][measure], estimate)
    for (measure, method), values in faithful.items():
        expected = vd.metrics.Bootstrap().mean(torch.cat(values).double().numpy())
        assert_equal(found["tables"]["faithfulness"]["methods"][method][measure], expected)
    random = found["tables"]["faithfulness"]["methods"]["random"]["randomization"]
    assert random["value"] == pytest.approx(1)


@pytest.mark.parametrize("minus", [None, "arrow"])
def test_the_class_of_each_mask_is_a_class_of_the_model(place: Path, classes: Path, minus: str | None) -> None:
    less = () if minus is None else ("--minus", minus)
    found = told(place, "scenes:deit", "--masks", "classes", *less, "--metric", "negative-perturbation")
    model = vd.load_model("scenes:deit")
    layer, names = model.classifier.layer, model.classifier.names  # type: ignore[union-attr]
    rows = {name: layer.weight[i].detach() for i, name in enumerate(names)}
    directions = {name: row - rows[minus] if minus else row for name, row in rows.items()}
    slow = {m: vd.metrics.Segmentation() for m in METHODS}
    values: dict[str, list[Tensor]] = {m: [] for m in METHODS}
    black = vd.metrics.black([0.5] * 3, [0.5] * 3)
    measure = vd.metrics.Perturbation("negative", fill=black)
    for record, image, _, maps, mask, dec in loop(model, classes, directions):
        number = names.index(record.class_name or "")

        def score(images: Tensor, rows: Tensor, number: int = number, dec: vd.Decomposer = dec) -> Tensor:
            logits = layer(dec.represent(images)).detach()
            chosen = logits if minus is None else logits[:, [number, names.index(minus)]]
            return chosen.softmax(1)[:, number if minus is None else 0]

        for method, each in maps.items():
            slow[method].add(each.grid[:, 0], mask)
            values[method].append(measure(score, image, each.values[:, 0]))
    tables = found["tables"]
    for method in METHODS:
        estimates = slow[method].result().estimates()
        for name, estimate in estimates.items():
            assert_equal(tables["imagenet-segmentation"]["methods"][method][name], estimate)
        mean = vd.metrics.Bootstrap().mean(torch.cat(values[method]).double().numpy())
        assert_equal(tables["faithfulness"]["methods"][method]["negative-perturbation"], mean)


def test_the_predicted_class_is_that_of_explain(place: Path) -> None:
    words = ("scenes:deit", "--masks", "scenes", "--predicted", "--metric", "stability")
    found = told(place, *words, methods=("legrad",))
    assert found["explained"] == "the class that the model predicts"
    model = vd.load_model("scenes:deit")
    slow, steady = vd.metrics.Segmentation(), list[Tensor]()
    prepare, dec = MaskedPreprocess(model.preprocess), vd.Decomposer(model).fit(torch.rand(1, 3, 64, 64))

    def predict(images: Tensor, rows: Tensor) -> Tensor:
        return model.classifier.layer(dec.represent(images)).argmax(1)  # type: ignore[union-attr]

    for record in vd.datasets.masks.open_masked_images(place / "scenes"):
        pixels, mask = prepare(*record.load())
        best = int(predict(pixels[None], torch.zeros(1))[0])

        def explain(images: Tensor, rows: Tensor, best: int = best) -> Tensor:
            return vd.explain(dec, images, [best], "legrad").values[:, 0]

        slow.add(explain(pixels[None], torch.zeros(1)), mask[None])
        steady.append(vd.metrics.Stability()(explain, predict, pixels[None]))
    tables = found["tables"]
    assert_equal(tables["imagenet-segmentation"]["methods"]["legrad"]["miou"], slow.result().miou)
    mean = vd.metrics.Bootstrap().mean(torch.cat(steady).double().numpy())
    assert_equal(tables["faithfulness"]["methods"]["legrad"]["stability"], mean)


def test_tables_go_into_files_with_what_they_depend_on(place: Path) -> None:
    words = ("scenes:clip", "--masks", "scenes", "--text", "a drawing of a {}", "--methods", "center", "--limit", "2")
    shown = run(place, *words, "--out", "table.md", by=launched)
    assert "heatmaps 2 of 2" in shown.stderr
    page = (place / "table.md").read_text(encoding="utf-8")
    for fact in ("model: scenes:clip (weights: trained)", "data: scenes (folder)", "n: 2 images", "seed 0",
                 'explained: the text "a drawing of a {}" with the class of each mask'):  # fmt: skip
        assert fact in shown.stdout
        assert fact in page
    assert "`vitdecomp segment scenes:clip --masks scenes --text 'a drawing of a {}' --methods center" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| center ")]
    run(place, *words, "--out", "table.csv")
    with (place / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["measure"] for row in rows] == list(vd.metrics.MEASURES)
    cells = [f"{float(r['value']):.3f} [{float(r['low']):.3f}, {float(r['high']):.3f}]" for r in rows]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["center", *cells, "2"]
    run(place, *words, "--out", "table.json")
    kept = json.loads((place / "table.json").read_text(encoding="utf-8"))
    found = kept["tables"]["imagenet-segmentation"]["methods"]["center"]
    assert [found[row["measure"]]["value"] for row in rows] == [float(row["value"]) for row in rows]


def test_all_methods_on_the_embedded_world(place: Path) -> None:
    words = ("timm:test_convnext", "--random-weights", "--predicted", "--methods", "all", "--limit", "2", "--json")
    found = json.loads(run(place, *words).stdout)
    methods = found["tables"]["imagenet-segmentation"]["methods"]
    assert set(found["refused"]) == {"attention-gradcam", "chefer", "legrad", "raw-attention", "rollout"}
    assert set(methods) == set(vd.explainers()) - set(found["refused"])
    assert (found["masks"], found["format"], found["images"]) == ("the embedded world", "scenes", 2)


def test_components_of_a_model_and_images_that_cannot_be_read(place: Path) -> None:
    for i in range(3):
        photograph(place / "torn" / "images" / f"{i}.png", size=(64, 64))
        gray(place / "torn" / "masks" / f"{i}.png", np.kron(square(size=(16, 32)), np.ones((4, 2), np.uint8)))
    (place / "torn" / "images" / "1.png").write_bytes(b"torn")
    words = (
        "scenes:clip",
        "--masks",
        "torn",
        "--text",
        "blue",
        "--method",
        "decompose",
        "--components",
        "*.blocks.5.*",
    )
    done = run(place, *words)
    assert "could not be read: 1" in done.stdout
    assert "components: *.blocks.5.*" in done.stdout
    strict = run(place, *words, "--strict", code=2)
    assert "cannot read image" in strict.stderr.splitlines()[-1]


def test_texts_through_maps(place: Path) -> None:
    clip, model, data = ClipSpace("scenes:clip"), vd.load_model("scenes:deit"), SceneDataset(40, 5, "train")
    images = [data[i][0] for i in range(40)]
    pixels = torch.stack([model.preprocess(image) for image in images])
    dec = vd.Decomposer(model).fit(pixels[:1])
    ClosedForm().fit(dec.transform(pixels), clip.encode_image(images)).save(place / "head.safetensors")
    aligner = ClosedForm.load(place / "head.safetensors")
    words = ("scenes:deit", "--masks", "scenes", "--maps", "head.safetensors", "--clip", "scenes:clip")
    done = run(place, *words, "--method", "decompose", "--metric", "deletion", "--json")
    found, slow, values = json.loads(done.stdout)["tables"], vd.metrics.Segmentation(), list[Tensor]()
    prepare = MaskedPreprocess(model.preprocess)
    for record in vd.datasets.masks.open_masked_images(place / "scenes"):
        image, mask = prepare(*record.load())
        text = f"a photo of a {record.class_name}"
        maps = vd.explain(dec, image[None], [text], aligner=aligner, encode_text=clip)

        def score(images: Tensor, rows: Tensor, text: str = text) -> Tensor:
            return torch.cosine_similarity(aligner.transform(dec.transform(images)).total(), clip.encode_text([text]))

        slow.add(maps.grid[:, 0], mask[None])
        values.append(vd.metrics.Deletion()(score, image[None], maps.values[:, 0]))
    assert_equal(found["imagenet-segmentation"]["methods"]["decompose"]["miou"], slow.result().miou)
    mean = vd.metrics.Bootstrap().mean(torch.cat(values).double().numpy())
    # Maps fitted on 40 images magnify rounding, which differs by processor and batch and changes the order of pixels.
    assert_equal(found["faithfulness"]["methods"]["decompose"]["deletion"], mean, within=1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("scenes:clip", "--out", "t.txt"), "tables are written as FILE.md, FILE.csv, FILE.json, not as t.txt"),
        (("scenes:clip", "--out", "no/t.md"), "cannot write no/t.md: there is no directory no"),
        (("scenes:clip", "--masks", "nowhere"), "there is no file or folder nowhere"),
        (("scenes:clip", "--masks", "empty"), "no masks in empty/masks: put a PNG there for each image"),
        (("scenes:clip", "--masks", "scenes", "--format", "vocc"), "no format of masks 'vocc'; did you mean voc?"),
        (("scenes:clip", "--split", "val"), "--split val is of the images of --masks: give that too"),
        (("scenes:clip", "--method", "legard"), "no explainer 'legard'; did you mean legrad?"),
        (("scenes:clip", "--protocol", "point"), "no protocol 'point'; did you mean points?"),
        (("scenes:clip", "--metric", "raod"), "no measure 'raod'; did you mean road"),
        (("scenes:clip", "--faithfulness", "--components", "*.blocks.5.*"), "leave out --components and --feature"),
        (
            ("scenes:clip", "--text", "red", "--class", "star"),
            "--text without {} and --class both say what is explained",
        ),
        (("scenes:deit", "--text", "a {}", "--predicted"), "--text is for models that read texts"),
        (
            ("scenes:deit", "--maps", "m", "--predicted"),
            "--predicted explains a class of the model, --maps lead to texts",
        ),
        (("scenes:clip", "--predicted"), "scenes:clip has no classes that could be explained: leave out --predicted"),
        (("scenes:dino",), "scenes:dino has no classes that could be explained: give --maps"),
        (("scenes:deit", "--text", "a {}"), "scenes:deit reads no texts: give --maps"),
        (("scenes:deit", "--class", "red cirle"), "scenes:deit has no class 'red cirle'; did you mean red circle"),
        (("scenes:deit",), "scenes:deit has no class 'square'; did you mean square in front of"),
        (
            ("scenes:clip", "--masks", "odd"),
            "these masks have no classes that a text could name: give --text or --class",
        ),
        (
            ("scenes:clip", "--masks", "odd", "--text", "x"),
            "mask odd/masks/0.png has 30 x 20 pixels, and image 0 64 x 64",
        ),
        (("timm:test_vit", "--random-weights", "--class", "0", "--output", "logits"), "directions must be"),
    ],
)
def test_what_is_refused_in_one_line(place: Path, words: tuple[str, ...], message: str) -> None:
    (place / "empty" / "images").mkdir(parents=True, exist_ok=True)
    (place / "empty" / "masks").mkdir(exist_ok=True)
    photograph(place / "odd" / "images" / "0.png", size=(64, 64))
    gray(place / "odd" / "masks" / "0.png", square())
    done = run(place, *words, "--quiet", code=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert done.stdout == ""
    assert not (place / "no").exists()
