"""Extraction to a store: what it holds, and what happens when something is wrong."""

import json
import os
import shutil
import tarfile

import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

import vitdecomp as vd
from vitdecomp.cli.extract import summary
from vitdecomp.extract import ExtractConfig
from vitdecomp.extract import extract as write
from vitdecomp.models.adapter import ADAPTERS
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.provenance import weights_checksum
from vitdecomp.store.lock import LOCK
from vitdecomp.store.writer import StoreWriter

REQUEST = ModelOptions("tiny:vit", random_weights=True, device="cpu", dtype="float64")
LOADING = Loading(batch_size=2)


class Tiny(vd.Adapter):
    prefix = "tiny"

    def load(self, name, *, pretrained, **options):
        depth = 2 if name == "vit" else 3
        module = VisionTransformer(img_size=16, patch_size=8, embed_dim=16, depth=depth, num_heads=2, num_classes=3)
        return vd.LoadedModel(module.eval(), None, f"tiny:{name}", input_size=(3, 16, 16), pretrained=pretrained)


@pytest.fixture(autouse=True)
def tiny():
    vd.register_adapter(Tiny)
    yield
    ADAPTERS.remove("tiny")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    gradient = Image.linear_gradient("L").convert("RGB")
    for i in range(5):
        gradient.rotate(30 * i).save(folder / ("inner" if i > 2 else "") / f"{i}.png")
    return folder


def job(photos, **changes):
    return ExtractConfig(**{"images": photos, "chunk_size": 3, "precision": "float64", **changes})


def extract(options, job, loading, progress=None):
    out = str(place(job.images))
    return summary(out, write(options, job, out, loading=loading, progress=progress))


def place(photos):
    return photos.parent / "parts.lance"


def stored(photos):
    return vd.Store(place(photos))


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != LOCK}


@pytest.mark.parametrize("by", ["head", "block", "head,token"])
def test_a_store_holds_what_the_decomposer_gives(photos, by):
    extract(REQUEST, job(photos, by=by), LOADING)
    store = stored(photos)
    assert store.ids == ("0.png", "1.png", "2.png", "inner/3.png", "inner/4.png")
    prepared = prepare(REQUEST)
    batch = prepared.batch([Image.open(photos / name) for name in store.ids])
    cut = tuple(by.split(",")) if "," in by else by
    c = vd.Decomposer(prepared.loaded, by=cut).fit(batch[:1]).transform(batch)
    found = store.take(range(5))
    assert found.components == c.components
    assert torch.allclose(found.values, c.values, rtol=1e-10, atol=1e-12)
    assert found.error.shape == (5,)


def test_the_header_tells_all(photos):
    summary = extract(REQUEST, job(photos), LOADING)
    metadata = stored(photos).metadata
    assert metadata.model == "tiny:vit"
    assert metadata.weights == weights_checksum(prepare(REQUEST).loaded.module)
    assert metadata.preprocessing == "PlainPreprocess(size=(3, 16, 16))"
    assert (metadata.by, metadata.output, metadata.dtype, metadata.precision) == (
        "head",
        "embedding",
        "float64",
        "float64",
    )
    assert metadata.components[0].kind == "attn"
    assert (summary["images"], summary["added"], summary["skipped"]) == (5, 5, [])
    assert summary["loss"] <= 1e-12


def test_nothing_is_done_twice(photos):
    extract(REQUEST, job(photos), LOADING)
    before, seen = files(place(photos)), []
    summary = extract(REQUEST, job(photos), LOADING, lambda done, total: seen.append(done))
    assert seen == []
    assert (summary["images"], summary["added"]) == (5, 0)
    assert files(place(photos)) == before


def test_limit_takes_the_first_images_and_the_rest_can_be_added(photos):
    assert extract(REQUEST, job(photos, limit=3), LOADING)["images"] == 3
    summary = extract(REQUEST, job(photos), LOADING)
    assert (summary["images"], summary["added"]) == (5, 2)
    later = stored(photos)
    done = write(REQUEST, job(photos), photos.parent / "once.lance", loading=LOADING)
    assert done.store.ids == later.ids
    assert done.store.fingerprint() == later.fingerprint()
    assert torch.equal(done.store.take(range(5)).values, later.take(range(5)).values)


def test_images_of_another_folder_are_added(photos):
    extract(REQUEST, job(photos), LOADING)
    other = photos.parent / "more"
    other.mkdir()
    Image.radial_gradient("L").convert("RGB").save(other / "new.png")
    done = write(REQUEST, job(other), place(photos), loading=LOADING)
    assert done.added == 1
    assert done.store.ids[-1] == "new.png"
    assert all(path.is_file() for path in done.store.paths)


def test_a_table_may_name_absolute_paths(photos, tmp_path):
    names = [photos / "1.png", photos / "inner" / "3.png"]
    (tmp_path / "list.csv").write_text("\n".join(["path", *map(str, names)]) + "\n")
    for added in (2, 0):
        done = write(REQUEST, job(tmp_path / "list.csv"), tmp_path / "s.lance", loading=LOADING)
        assert done.added == added
        assert list(done.store.paths) == names


def test_an_interrupted_run_goes_on_where_it_stopped(photos):
    once = write(REQUEST, job(photos, chunk_size=2), photos.parent / "once.lance", loading=LOADING).store

    def interrupt(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(REQUEST, job(photos, chunk_size=2), LOADING, interrupt)
    with pytest.raises(vd.InputError, match="is not finished"):
        stored(photos)
    seen = []
    extract(REQUEST, job(photos, chunk_size=2), LOADING, lambda done, total: seen.append((done, total)))
    assert seen == [(5, 5)]
    assert stored(photos).fingerprint() == once.fingerprint()
    assert torch.equal(stored(photos).take(range(5)).values, once.take(range(5)).values)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"options": {"model": "tiny:deep"}}, "components"),
        ({"options": {"seed": 1}}, "weights"),
        ({"options": {"dtype": "float32"}}, "dtype"),
        ({"job": {"by": "block"}}, "by"),
        ({"job": {"precision": "float16"}}, "precision"),
    ],
    ids=str,
)
def test_another_extraction_is_refused(photos, change, word):
    extract(REQUEST, job(photos), LOADING)
    before = files(place(photos))
    options = ModelOptions(
        **{
            **{"model": "tiny:vit", "random_weights": True, "device": "cpu", "dtype": "float64"},
            **change.get("options", {}),
        }
    )
    with pytest.raises(vd.OutputError, match=f"another extraction.*{word}"):
        extract(options, job(photos, **change.get("job", {})), LOADING)
    assert files(place(photos)) == before


def test_an_unreadable_image_is_named_and_what_is_written_with_it_is_not(photos):
    (photos / "inner" / "4.png").write_bytes(b"broken")
    with pytest.raises(vd.InputError, match=r"cannot read image .*4\.png.*--skip-unreadable"):
        extract(REQUEST, job(photos), LOADING)
    assert list(StoreWriter(str(place(photos))).known()) == ["0.png", "1.png", "2.png"]


def test_unreadable_images_can_be_left_out_and_are_tried_again(photos):
    good = (photos / "0.png").read_bytes()
    for name in ("0.png", "inner/3.png", "inner/4.png"):
        (photos / name).write_bytes(good[: len(good) // 2] if name == "0.png" else b"broken")
    skip = Loading(batch_size=2, skip_unreadable=True)
    summary = extract(REQUEST, job(photos), skip)
    assert summary["skipped"] == ["0.png", "inner/3.png", "inner/4.png"]
    assert summary["images"] == 2
    assert stored(photos).ids == ("1.png", "2.png")
    (photos / "0.png").write_bytes(good)
    again = extract(REQUEST, job(photos), skip)
    assert (again["skipped"], again["added"]) == (["inner/3.png", "inner/4.png"], 1)
    assert stored(photos).ids == ("1.png", "2.png", "0.png")


def test_an_image_whose_name_is_not_utf8_is_extracted_under_its_spelling(photos):
    shutil.copy(photos / "0.png", photos / os.fsdecode(b"odd\xff.png"))
    told = extract(REQUEST, job(photos), LOADING)
    assert (told["images"], told["skipped"]) == (6, [])
    assert r"odd\xff.png" in stored(photos).ids


def test_text_that_no_store_can_hold_is_named_or_left_out(photos):
    shard = photos.parent / "shard.tar"
    with tarfile.open(shard, "w") as tar:
        for name in ("0", "1"):
            tar.add(photos / f"{name}.png", f"{name}.png")
        (photos.parent / "0.json").write_text(json.dumps({"place": "\ud800"}))
        tar.add(photos.parent / "0.json", "0.json")
    with pytest.raises(vd.InputError, match="its name is not UTF-8; rename it"):
        extract(REQUEST, job(shard), LOADING)
    told = extract(REQUEST, job(shard), Loading(batch_size=2, skip_unreadable=True))
    assert (told["images"], len(told["skipped"])) == (1, 1)


def test_if_no_image_can_be_read_nothing_is_written(photos):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(vd.InputError, match=r"none of 5 images can be read; the first: cannot read image .*png"):
        extract(REQUEST, job(photos), Loading(skip_unreadable=True))
    assert not place(photos).exists()


def test_the_checksum_sees_every_bit_and_name():
    module = torch.nn.Linear(3, 3)
    before = weights_checksum(module)
    assert weights_checksum(module) == before
    assert weights_checksum(torch.nn.Sequential(module)) != before
    module.bias.data[2] += 1e-6
    assert weights_checksum(module) != before


def test_a_float64_copy_has_the_checksum_of_its_model():
    module = torch.nn.Linear(3, 3)
    before = weights_checksum(module)
    assert weights_checksum(module.double()) == before
    module.bias.data[2] += 1e-6
    assert weights_checksum(module) != before


def test_a_picture_that_changed_without_changing_its_size_is_another_one(photos):
    extract(REQUEST, job(photos), LOADING)
    picture = photos / "0.png"
    data = picture.read_bytes()
    Image.linear_gradient("L").convert("RGB").save(picture, compress_level=9)
    picture.write_bytes(picture.read_bytes()[: len(data)].ljust(len(data), b"\0"))
    assert len(data) == picture.stat().st_size
    assert data != picture.read_bytes()
    with pytest.raises(vd.OutputError, match=r"another image under 0\.png"):
        extract(REQUEST, job(photos), LOADING)


def test_whole_representations_are_those_of_the_model(photos):
    extract(REQUEST, job(photos, by="representation"), LOADING)
    found = stored(photos).take(range(5)).values
    prepared = prepare(REQUEST)
    x = prepared.batch([Image.open(path) for path in sorted(photos.rglob("*.png"))])
    with torch.no_grad():
        expected = prepared.loaded.representation()(x)
    assert torch.allclose(found[:, 0], expected, atol=1e-12)
