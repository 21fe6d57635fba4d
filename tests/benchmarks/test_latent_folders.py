"""The experiments with latent tokens on pictures in folders, as users have them: real runs of the commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from forks import Fork, source
from PIL import Image

from vitdecomp.scenes import SceneDataset
from vitdecomp.scenes.render import draw

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROGRAM = """
import runpy, sys
sys.path.insert(0, {folder!r})
runpy.run_path({program!r}, run_name="__main__")
"""


def run(program: str, *words: object) -> tuple[int | None, str, str]:
    """Run a benchmark in a process of its own."""
    text = PROGRAM.format(folder=str(BENCHMARKS), program=str(BENCHMARKS / program))
    process = Fork(source, text, *words)
    out, err = process.communicate()
    return process.returncode, out, err


def refusal(program: str, *words: object) -> str:
    """Return the one line on stderr of a run that is refused."""
    code, _, err = run(program, *words)
    assert code == 2, err
    (line,) = err.strip().splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Scenes with a word written over them, beside the same without it."""
    data = SceneDataset(16, 71, "test", "typographic")
    for i in range(len(data)):
        scene = data.scene(i)
        for side, each in (("attacked", scene), ("plain", replace(scene, word=None))):
            place = tmp_path / side / scene.shape / f"{i}" / f"label={scene.shape}_text={scene.word}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw(each)[0]).save(place)
    return tmp_path


@pytest.mark.slow
def test_typographic_attacks_on_photographs(photographs: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("a red thing\na blue thing\nletters\na written word\ntrees\nsnow\n")
    options = ("--pairs", photographs, "--model", "scenes:clip", "--texts", texts, "--out", tmp_path / "out")
    code, out, err = run("latent_typographic.py", *options)
    assert code == 0, err
    assert "photographs and their twins" in out
    content = json.loads((tmp_path / "out" / "latent_typographic.json").read_text())
    assert content["settings"]["tuned"] == content["settings"]["n"] == 8
    assert (content["settings"]["texts"], content["settings"]["classes"]) == (6, 10)
    (found,) = content["models"].values()
    assert {"none", "words", "legrad", "random"} <= set(found)
    assert "true mask" not in found
    assert found["none"]["plain"] > 0.4
    assert "scenes:clip" in (tmp_path / "out" / "latent_typographic.md").read_text()


def test_photographs_that_make_no_experiment(photographs: Path, tmp_path: Path) -> None:
    model = ("--model", "scenes:clip")
    assert "go together" in refusal("latent_typographic.py", "--pairs", photographs)
    assert "there is no folder" in refusal("latent_typographic.py", "--pairs", tmp_path / "nowhere", *model)
    assert "text" in refusal("latent_typographic.py", "--pairs", photographs, "--model", "scenes:deit")
    next((photographs / "plain").rglob("*.png")).unlink()
    assert "has no plain twin" in refusal("latent_typographic.py", "--pairs", photographs, *model)


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    """Scenes in the files of CelebA: patterns are the class, colors go with it in the training split alone."""
    root, rows, splits = tmp_path / "celeba", list[str](), list[str]()
    (root / "img_align_celeba").mkdir(parents=True)
    for number, (split, n) in enumerate((("train", 120), ("val", 24), ("test", 24))):
        data = SceneDataset(n, 72, split, "celeba")
        for i in range(n):
            sample, name = data.sample(i), f"{len(rows) + 1:06d}.jpg"
            lined, cool = divmod(sample.labels["group"], 2)
            Image.fromarray(sample.image).save(root / "img_align_celeba" / name, quality=95)
            rows.append(f"{name} {2 * cool - 1:2d} {2 * lined - 1:2d}")
            splits.append(f"{name} {number}")
    (root / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), "Cool Lined ", *rows]) + "\n")
    (root / "list_eval_partition.txt").write_text("\n".join(splits) + "\n")
    return root


NAMED = ("--target", "Lined", "--cue", "Cool", "--model", "scenes:clip")


@pytest.mark.slow
def test_a_biased_classifier_of_photographs(celeba: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("trees\nsnow\na circle\na square\n")
    own = ("--class-text", "a striped thing", "--class-text", "a plain thing")
    cue = ("--cue-text", "a red thing", "--cue-text", "a blue thing", "--cue-text", "a green thing")
    out = tmp_path / "out"
    options = (*NAMED, *own, *cue, "--texts", texts, "--quick", "--out", out)
    code, _, err = run("latent_attribute.py", "--celeba", celeba, *options)
    assert code == 0, err
    content = json.loads((out / "latent_attribute.json").read_text())
    assert content["settings"] == {"trained": 120, "tuned": 24, "n": 24}
    (found,) = content["models"].values()
    assert {"none", "words, cue", "threshold, cue, smoothed", "legrad", "components"} <= set(found)
    assert found["none"]["average"] > 0.6
    page = (out / "latent_attribute.md").read_text()
    assert "**not Lined or Lined; groups: not Lined, not Cool; not Lined, Cool; Lined, not Cool; Lined, Cool**" in page


def test_photographs_that_make_no_classifier(celeba: Path) -> None:
    program = "latent_attribute.py"
    assert "--model SPEC" in refusal(program, "--celeba", celeba, *NAMED[:4])
    assert "there is no file or folder" in refusal(program, "--celeba", celeba / "nowhere", *NAMED)
    assert "no attribute 'Line'; did you mean Lined" in refusal(program, "--celeba", celeba, *NAMED, "--target", "Line")
    assert "no texts" in refusal(program, "--celeba", celeba, *NAMED, "--texts", celeba / "nothing.txt")
    lines = (celeba / "list_eval_partition.txt").read_text().replace(" 1\n", " 0\n")
    (celeba / "list_eval_partition.txt").write_text(lines)
    assert "is in the split val: there are train, test" in refusal(program, "--celeba", celeba, *NAMED)
