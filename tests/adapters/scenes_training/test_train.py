"""Training: what an interruption must not change, what a loss must do."""

import json
import math
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from scenes_training import checkpoint
from scenes_training.objectives import (
    OBJECTIVES,
    Contrastive,
    Recognition,
    Supervised,
    held_words,
    implied,
    telling,
)
from scenes_training.optimizer import Optimizer
from scenes_training.pictures import Pictures, as_input
from scenes_training.publish import publish
from scenes_training.recipes import RECIPES
from scenes_training.run import Run
from vitdecomp_adapters.scenes.words import tokenize

from vitdecomp import VitdecompError
from vitdecomp.models.adapter import load_model
from vitdecomp.scenes import SceneDataset

SMALL = {"images": 48, "steps": 4, "batch_size": 16, "warmup": 2}
CPU = torch.device("cpu")


class Stopped(Exception):
    """What ends a run in the middle."""


@pytest.fixture(scope="module")
def pictures():
    return Pictures(SceneDataset(48))


def run(name, pictures, folder, every=2, **changes):
    torch.manual_seed(0)
    recipe = replace(RECIPES[name], **{**SMALL, **changes})
    return Run(name, recipe, 0, OBJECTIVES[name](), pictures, folder / f"{name}.state", CPU, every=every)


def stop_after(n):
    def progress(done, total, loss):
        if done == n:
            raise Stopped

    return progress


@pytest.mark.parametrize("name", ["clip", "deit", "dino"])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(name, pictures, tmp_path):
    losses = []
    whole = run(name, pictures, tmp_path, every=100)(lambda done, total, loss: losses.append(loss))
    broken = run(name, pictures, tmp_path)
    with pytest.raises(Stopped):
        broken(stop_after(3))
    again = []
    resumed = run(name, pictures, tmp_path)(lambda done, total, loss: again.append(loss))
    assert again == losses[2:]
    for (key, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


def test_the_state_of_another_run_is_refused(pictures, tmp_path):
    with pytest.raises(Stopped):
        run("deit", pictures, tmp_path)(stop_after(3))
    with pytest.raises(VitdecompError, match=r"of another run.*remove it"):
        run("deit", pictures, tmp_path, rate=1e-4)(lambda *_: None)
    (tmp_path / "deit.state").write_bytes(b"no tensors here")
    with pytest.raises(VitdecompError, match="not the state of a training run"):
        run("deit", pictures, tmp_path)(lambda *_: None)


def test_facts_of_a_state(pictures, tmp_path):
    with pytest.raises(Stopped):
        run("deit", pictures, tmp_path)(stop_after(3))
    facts = checkpoint.facts_of(tmp_path / "deit.state")
    assert facts["step"] == "2"
    assert float(facts["seconds"]) > 0


def test_every_scene_comes_once_before_any_comes_again(pictures):
    rounds = [torch.cat([pictures.batch(3 * turn + i, 16, CPU).classes for i in range(3)]) for turn in range(2)]
    assert all(sorted(r.tolist()) == sorted(pictures.classes.tolist()) for r in rounds)
    assert rounds[0].tolist() != rounds[1].tolist()


def test_a_few_scenes_are_soon_learned_by_heart(pictures):
    torch.manual_seed(0)
    objective, batch = Supervised("scenes_deit"), pictures.batch(0, 16, CPU)
    optimizer = torch.optim.AdamW(objective.parameters(), 1e-3)
    first = float(objective(batch).detach())
    for _ in range(20):
        loss = objective(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    least = math.log(3)  # of a picture that belongs to three classes
    assert float(loss.detach()) - least < (first - least) / 2


def held(*captions):
    return held_words(tokenize(captions), 1024)


def test_a_caption_is_right_for_a_picture_of_which_another_says_as_much_and_more():
    captions = ("a star", "a ring", "a star", "a red star on water")
    right = [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]
    assert implied(held(*captions)).tolist() == right


def test_words_that_every_caption_holds_do_not_count():
    said = telling(held("a red star", "a red ring", "a blue ring"))
    a, red, star, ring, blue = (int(row[1]) for row in tokenize(["a", "red", "star", "ring", "blue"]))
    assert torch.allclose(said.sum(1), torch.ones(3))
    assert float(said[:, a].sum()) == 0
    assert set(said[0].nonzero().flatten().tolist()) == {red, star}
    assert said[0, star] > said[0, red]
    assert said[2, blue] > said[2, ring]


def test_recognition_sees_no_labels_and_moves_the_teacher_by_the_student_alone(pictures):
    torch.manual_seed(0)
    objective = Recognition("scenes_dino")
    batch = pictures.batch(0, 16, CPU)
    again = pictures.batch(0, 16, CPU)
    blind = replace(again, classes=torch.zeros_like(again.classes), texts=torch.zeros_like(again.texts))
    loss = float(objective(batch).detach())
    objective.filled.zero_()
    assert float(objective(blind).detach()) == loss
    objective(pictures.batch(1, 16, CPU)).backward()
    assert all(p.grad is None for p in objective.teacher.parameters())
    before = [p.clone() for p in objective.teacher.parameters()]
    with torch.no_grad():
        for p in objective.student.parameters():
            p.add_(1.0)
    objective.after_step(0.0)
    for old, new in zip(before, objective.teacher.parameters(), strict=True):
        assert torch.allclose(new - old, torch.full_like(old, 0.0105), atol=1e-5)


def test_moments_change_places_when_the_scenes_come_again():
    pictures = Pictures(SceneDataset(8, seed=3), moments=2)
    for step, moments in ((0, pictures.drawn), (1, pictures.drawn[::-1])):
        batch = pictures.batch(step, 8, CPU)
        for seen, drawn in zip((batch.images, batch.later), moments, strict=True):
            assert torch.equal(seen.sum((1, 2, 3)).sort()[0], as_input(drawn).sum((1, 2, 3)).sort()[0])


def test_what_a_teacher_saw_is_remembered_newest_first(pictures):
    objective = Recognition("scenes_dino")
    for step in range(2):
        objective(pictures.batch(step, 16, CPU))
    assert int(objective.filled) == 32
    assert torch.allclose(objective.past[:, :32].norm(dim=-1), torch.ones(2, 32), atol=1e-5)
    assert not objective.past[:, 32:].any()
    newest = objective.past[:, :16].clone()
    objective(pictures.batch(2, 16, CPU))
    assert torch.equal(objective.past[:, 16:32], newest)


def test_clip_learns_from_pictures_as_its_own_transform_makes_them(pictures):
    loaded, picture = load_model("scenes:clip", pretrained=False), pictures.drawn[0][0]
    mine = Contrastive()._scaled(as_input(picture[None]))
    assert torch.allclose(mine[0], loaded.preprocess(Image.fromarray(picture.numpy())), atol=1e-5)


def test_the_contrast_moves_the_image_tower_only_when_the_words_are_known(pictures):
    torch.manual_seed(0)
    objective, batch = Contrastive().eval(), pictures.batch(0, 16, CPU)
    losses, slopes = [], []
    for progress in (0.0, *Contrastive.UNLOCKED, 1.0):
        objective.after_step(progress)
        loss = objective(batch)
        losses.append(float(loss.detach()))
        slopes.append(torch.autograd.grad(loss, objective.model.visual.trunk.cls_token)[0])
    assert losses == pytest.approx([losses[0]] * 4)
    assert torch.equal(slopes[0], slopes[1])
    assert torch.allclose(slopes[2], slopes[3], atol=1e-6)
    assert not torch.allclose(slopes[1], slopes[2], rtol=0.01)


def test_muon_learns_the_matrices_of_blocks_and_nothing_else():
    optimizer = Optimizer(Supervised("scenes_swin").named_parameters(), RECIPES["swin"])
    matrices = {id(p) for group in optimizer.parts[1].param_groups for p in group["params"]}
    names = {name for name, p in optimizer.learned.items() if id(p) in matrices}
    assert "model.layers.0.blocks.0.attn.qkv.weight" in names
    assert all(name.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight")) for name in names)
    assert "model.patch_embed.proj.weight" not in names


def test_what_is_published_is_small_and_says_what_it_is(pictures, tmp_path):
    job = run("deit", pictures, tmp_path, every=100)
    path, figures = publish(job, job(lambda *_: None), tmp_path, n=200)
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["vitdecomp"])
        assert file.get_tensor("cls_token").dtype == torch.float16
    assert facts["figures"] == figures
    assert facts["seed"] == 0
    assert facts["recipe"]["steps"] == 4
    assert path.stat().st_size < 3e6
