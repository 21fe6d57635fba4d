"""`vitdecomp align` and `vitdecomp describe` as their users run them."""

import json
import time

import pandas as pd
import pytest
import torch
from commands import in_process, launched, succeeded
from forks import Fork, command
from vitdecomp_alignment import ClosedForm, CompAlign

import vitdecomp as vd
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.scenes import SceneDataset

pytestmark = pytest.mark.xdist_group("alignment-cli")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures, and a cache that all of these commands share."""
    place = tmp_path_factory.mktemp("alignment")
    SceneDataset(80, 3, "test").write(place / "scenes")
    return place


@pytest.fixture(scope="module")
def aligned(place):
    """What `align` said when it fitted the maps that other commands use."""
    return succeeded(launched(place, "align", "scenes:deit", *ALIGN, "--out", "maps.safetensors", "--json"))


ALIGN = ("--clip", "scenes:clip", "--images", "scenes", "--cache", "cache")


def run(place, *words):
    return succeeded(in_process(place, *words))


def refused(place, *words):
    return told_in_one_line(in_process(place, *words))


def told_in_one_line(done):
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last


def test_align_writes_maps_that_python_reads(place, aligned):
    told = json.loads(aligned.stdout)
    assert (told["model"], told["clip"], told["aligner"], told["images"]) == (
        "scenes:deit",
        "scenes:clip",
        "CompAlign",
        80,
    )
    aligner = CompAlign.load(place / "maps.safetensors")
    prepared = prepare(ModelOptions("scenes:deit", device="cpu"))
    x = prepared.batch([picture for picture, _ in _pictures(place)])
    c = vd.Decomposer(prepared.loaded).fit(x[:1]).transform(x)
    clip = prepare(ModelOptions("scenes:clip", device="cpu"))
    with torch.no_grad():
        z = clip.loaded.representation()(clip.batch([picture for picture, _ in _pictures(place)]))
    assert float(torch.cosine_similarity(aligner.transform(c).total(), z).mean()) > 0.6
    assert aligner.target_ is not None
    assert aligner.target_.model == "scenes:clip"
    assert aligner.metrics_ == told["metrics"]


def _pictures(place):
    from vitdecomp.images.opening import find_images, open_image

    return [(open_image(path), path) for path in find_images(place / "scenes")][:16]


def test_nothing_is_computed_twice(place, aligned):
    done = run(place, "align", "scenes:deit", *ALIGN, "--out", "again.safetensors", "--json")
    assert "contributions of" not in done.stderr
    assert "vectors of" not in done.stderr
    assert (place / "again.safetensors").read_bytes() == (place / "maps.safetensors").read_bytes()


def test_a_killed_training_goes_on_where_it_was(place, aligned):
    out, training = place / "killed.safetensors", place / "killed.safetensors.training"
    words = ("align", "scenes:deit", *ALIGN, "--out", out.name, "--json")
    begun = Fork(command, *words, cwd=place)
    deadline = time.monotonic() + 200
    while not training.exists() and begun.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    begun.kill()
    begun.wait()
    assert training.exists(), "the training was over before it could be killed"
    assert not out.exists()
    last = refused(place, *words[:-3], "--out", out.name, "--seed", "1")
    assert "killed.safetensors.training is of another training" in last
    run(place, *words)
    assert out.read_bytes() == (place / "maps.safetensors").read_bytes()
    assert not training.exists()


def test_another_method_and_the_report(place, aligned):
    words = ("--method", "closed-form", "--report", "--seeds", "1", "--out", "closed.safetensors", "--json")
    told = json.loads(run(place, "align", "scenes:deit", *ALIGN, *words).stdout)
    assert isinstance(ClosedForm.load(place / "closed.safetensors"), ClosedForm)
    model, itself = told["report"]
    assert (model["model"], itself["model"]) == ("scenes:deit", "scenes:clip")
    for table in told["report"]:
        assert list(table["summary"]) == ["one map", "lambda 0", "CompAlign", "closed form"]
    assert model["judgements"][0]["identity"] is None
    assert 0 < model["summary"]["closed form"]["distance"]["mean"] < model["summary"]["closed form"]["constant"]["mean"]
    closed = itself["summary"]["closed form"]
    assert closed["distance"]["mean"] < 1e-2
    assert closed["exact"]["mean"] > 0.5  # fewer pictures than dimensions leave some of the answer open


def test_describe_names_the_heads_of_an_aligned_model(place, aligned):
    words = ("--maps", "maps.safetensors", "--images", "scenes", "--texts", "scene", "--components", "blocks.5.attn.*")
    done = launched(place, "describe", "scenes:deit", *words, "--m", "3", "--cache", "cache", "--json")
    told = json.loads(done.stdout)
    assert told["clip"] == "scenes:clip"
    assert sorted(row["component"] for row in told["components"]) == [f"blocks.5.attn.head.{i}" for i in range(8)]
    shares = [row["share"] for row in told["components"]]
    assert shares == sorted(shares, reverse=True)
    for row in told["components"]:
        assert len(row["texts"]) == 3
        assert row["explained"] == pytest.approx(sum(text["explained"] for text in row["texts"]))
        assert 0 < row["explained"] <= 1


def test_commands_say_if_other_maps_would_serve_them_better(place, aligned):
    """Maps around what each component tells alone are best to name and rank; those of the default to remove."""
    own = ("--method", "closed-form", "--set", "prior=own", "--out", "own.safetensors", "--json")
    assert json.loads(aligned.stdout)["shows"] == "added"
    assert json.loads(run(place, "align", "scenes:deit", *ALIGN, *own).stdout)["shows"] == "alone"
    reading = ("--images", "scenes", "--cache", "cache", "--clip", "scenes:clip", "--json")
    cue = ("--data", "waterbirds", "--spurious", "water,snow", "--core", "circle,heart", "--k", "3", "--seeds", "1")
    for split, n in (("train", 40), ("test", 24)):
        SceneDataset(n, 0, split, "waterbirds").write(place / "waterbirds" / split)
    commands = {
        "maps.safetensors": [("describe", *reading), ("rank", *reading, "--features", "scenes")],
        "own.safetensors": [("debias", *cue, "--clip", "scenes:clip", "--cache", "cache", "--json")],
    }
    for maps, served_worse in commands.items():
        other = next(name for name in commands if name != maps)
        for verb, *words in served_worse:
            assert (
                "better here: `vitdecomp align` with" in run(place, verb, "scenes:deit", *words, "--maps", maps).stderr
            )
            assert "better here" not in run(place, verb, "scenes:deit", *words, "--maps", other).stderr


def test_describe_a_clip_with_its_own_texts(place, tmp_path):
    (tmp_path / "words.txt").write_text("water\nsnow\na red circle\na blue star\nforest\n")
    words = ("--texts", str(tmp_path / "words.txt"), "--images", "scenes", "--cache", "cache", "--m", "2", "--sizes")
    done = run(place, "describe", "scenes:clip", *words)
    assert "scenes:clip in words of scenes:clip: 80 images, 5 texts" in done.stdout
    assert "Share of the variance explained" in done.stdout
    assert "forest" in done.stdout


def test_describe_by_what_can_be_read_needs_no_maps(place):
    words = ("--images", "scenes", "--cache", "cache", "--m", "2")
    told = json.loads(run(place, "describe", "scenes:deit", "--clip", "scenes:clip", *words, "--json").stdout)
    assert told["clip"] == "scenes:clip"
    assert all(len(row["texts"]) <= 2 and row["texts"][0]["r2"] <= 1 for row in told["components"])
    assert any(row["named"] and row["texts"][0]["r2"] > row["control"] for row in told["components"])
    shown = run(place, "describe", "scenes:clip", *words, "--components", "visual.trunk.blocks.5.*").stdout
    assert "control: the best R2 of any text where images are shuffled" in shown


def test_units_are_described_ranked_and_searched(place):
    words = ("--images", "scenes", "--cache", "cache", "--directions", "2", "--json")
    clip = ("--clip", "scenes:clip")
    one = ("--components", "blocks.5.attn.head.1.*")
    told = json.loads(run(place, "describe", "scenes:deit", *clip, *words, *one).stdout)
    names = {f"blocks.5.attn.head.1.{part}" for part in ("dir.0", "dir.1", "rest")}
    assert {row["component"] for row in told["components"]} == names
    ranked = json.loads(run(place, "rank", "scenes:clip", *words, "--features", "scenes", "--top", "5").stdout)
    found = [row["component"] for row in ranked["features"]["colour"]["components"]]
    assert any(".dir." in name for name in found)
    singular = ("--images", "scenes", "--cache", "cache", "--directions", "singular:1", "--json")
    told = json.loads(run(place, "describe", "scenes:deit", *clip, *singular, *one).stdout)
    assert {row["component"] for row in told["components"]} == names - {"blocks.5.attn.head.1.dir.1"}
    unit = "visual.trunk.blocks.5.attn.head.0.dir.0"
    hits = json.loads(run(place, "search", "scenes:clip", *words, "--text", "a red thing", "--components", unit).stdout)
    assert len(hits["hits"]) == 10
    text = ("--text", "a red thing", "--components", "blocks.77.dir.0")
    missing = refused(place, "search", "scenes:clip", *words, *text)
    assert "no component matches 'blocks.77.dir.0'" in missing


def test_directions_are_described_by_sums_of_texts(place, aligned):
    words = ("--method", "comp", "--cache", "cache", "--m", "2", "--texts", "scene")
    own = ("--directions", "singular:2", "--images", "scenes", "--components", "visual.trunk.blocks.5.attn.*", "--json")
    told = json.loads(run(place, "describe", "scenes:clip", *words, *own).stdout)
    assert told["images"] == 1  # singular directions need none, but to know which components there are
    names = {f"visual.trunk.blocks.5.attn.head.{head}.dir.{j}" for head in range(8) for j in range(2)}
    assert {row["component"] for row in told["directions"]} == names
    for row in told["directions"]:
        assert {*row["poles"]} == {"+", "-"}
        for pole in row["poles"].values():
            assert pole["named"] is (pole["similarity"] > row["control"])
            assert 1 <= len(pole["texts"]) <= 2
            assert all(text["weight"] > 0 for text in pole["texts"])
    strengths = [row["strength"] for row in told["directions"]]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[0] == 1
    mapped = (
        "--directions",
        "1",
        "--images",
        "scenes",
        "--maps",
        "maps.safetensors",
        "--components",
        "blocks.5.attn.*",
    )
    shown = run(place, "describe", "scenes:deit", *words, *mapped).stdout
    assert "scenes:deit in words of scenes:clip: 8 directions" in shown
    assert "control: the best of as many random directions of the component" in shown


def test_rank_writes_all_scores_as_a_table(place):
    words = ("rank", "scenes:clip", "--images", "scenes", "--cache", "cache", "--features", "scenes")
    told = json.loads(run(place, *words, "--top", "3", "--out", "scores.csv", "--json").stdout)
    frame = pd.read_csv(place / "scores.csv")
    assert {*frame["feature"]} == {*told["features"]}
    assert {*frame.groupby("feature").size()} == {frame["component"].nunique()}
    for feature, found in told["features"].items():
        of_it = frame[frame["feature"] == feature].set_index("component")
        for row in found["components"]:
            assert of_it.loc[row["component"], "score"] == pytest.approx(row["score"])
            assert of_it.loc[row["component"], "margin"] == pytest.approx(row["margin"])
    assert "by its suffix: give .parquet" in refused(place, *words, "--out", "scores.txt")


def test_describe_gives_roles(place):
    words = ("--images", "scenes", "--cache", "cache", "--roles", "--features", "scenes")
    told = json.loads(run(place, "describe", "scenes:deit", "--clip", "scenes:clip", *words, "--json").stdout)
    features = {"shape", "colour", "pattern", "location", "size"}
    assert {row["role"]["feature"] for row in told["components"]} <= features
    for row in told["components"]:
        assert 0 <= row["role"]["confidence"] <= 1
        assert row["named"] or not row["role"]["clear"]
    clear = [row for row in told["components"] if row["role"]["clear"]]
    assert clear
    shown = run(place, "describe", "scenes:deit", "--clip", "scenes:clip", *words).stdout
    assert f"no clear role, {len(told['components']) - len(clear)} of {len(told['components'])}: " in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("describe", "scenes:clip", "--features", "color"), "--features are what --roles chooses from"),
        (("describe", "scenes:clip", "--roles", "--texts", "scene"), "--roles reads the words of --features"),
        (("describe", "scenes:deit", "--method", "readability", "--images", "scenes"), "own: give --clip, whose texts"),
        (("describe", "scenes:clip", "--method", "readability", "--sizes"), "has neither --sizes nor --rank"),
        (("describe", "scenes:clip", "--method", "comp", "--rank", "3"), "comp has neither --sizes nor --rank"),
        (("describe", "scenes:clip", "--method", "comp"), "comp names directions: add --directions K"),
        (("describe", "scenes:clip", "--roles", "--method", "comp"), "leave out --texts, --maps, --sizes, --rank and"),
        (("align", "scenes:deit", *ALIGN, "--out", "nowhere/maps.safetensors"), "there is no directory nowhere"),
        (("align", "scenes:deit", *ALIGN, "--out", "x.safetensors", "--method", "compaling"), "no aligner 'compaling'"),
        (("align", "scenes:diet", *ALIGN, "--out", "x.safetensors"), "scenes has no model 'diet'; did you mean"),
        (
            ("align", "scenes:deit", "--clip", "scenes:clip", "--images", "none", "--out", "x.safetensors"),
            "there is no file or folder none",
        ),
        (("describe", "scenes:deit", "--images", "scenes", "--cache", "cache"), "whose texts name it, or --maps"),
        (("describe", "scenes:deit", "--method", "variance", "--images", "scenes"), "of its own: give --maps"),
        (("describe", "scenes:deit", "--maps", "none.safetensors"), "there are no maps at none.safetensors"),
        (("describe", "scenes:clip", "--images", "scenes", "--texts", "none"), "there are no texts 'none'"),
        (
            ("describe", "scenes:swin", "--maps", "maps.safetensors", "--images", "scenes", "--cache", "cache"),
            "the maps are for scenes:deit (embedding), not scenes:swin",
        ),
        (
            ("describe", "scenes:deit", "--maps", "maps.safetensors", "--clip", "scenes:deit", "--images", "scenes"),
            "scenes:deit has no text encoder",
        ),
    ],
    ids=lambda value: value[-1][:30] if isinstance(value, tuple) else value[:30],
)
def test_what_is_refused(place, aligned, words, told):
    before = {path.name for path in place.iterdir()}
    cache = () if "--cache" in words else ("--cache", "cache")
    assert told in refused(place, *words, *cache)
    assert {path.name for path in place.iterdir()} == before


def test_damaged_maps_are_refused(place, aligned, tmp_path):
    damaged = tmp_path / "maps.safetensors"
    damaged.write_bytes((place / "maps.safetensors").read_bytes()[:500])
    assert "is damaged" in refused(place, "describe", "scenes:deit", "--maps", str(damaged), "--images", "scenes")
