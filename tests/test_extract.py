"""Extraction to shards: what they hold, and what happens when something is wrong."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from vitdecomp.manifest import Manifest

import vitdecomp as vd
from vitdecomp import commands
from vitdecomp.adapter import ADAPTERS
from vitdecomp.extract import Extraction
from vitdecomp.loading import Loading
from vitdecomp.origin import weights_checksum
from vitdecomp.prepare import Request, prepare

REQUEST = Request("tiny:vit", random_weights=True, device="cpu", dtype="float64")
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
    return Extraction(**{"images": photos, "shard_size": 3, **changes})


def extract(request, job, loading, progress=None):
    return commands.extract(request, job, job.images.parent / "parts", loading=loading, progress=progress)


def shards(out):
    return [load_file(path) for path in sorted(out.glob("*.safetensors"))]


@pytest.mark.parametrize("by", ["head", "block", "head,token"])
def test_shards_hold_what_the_decomposer_gives(photos, by):
    extract(REQUEST, job(photos, by=by), LOADING)
    manifest = Manifest.read(photos.parent / "parts")
    parts = shards(photos.parent / "parts")
    assert [len(part["rows"]) for part in parts] == [3, 2]
    assert torch.cat([part["rows"] for part in parts]).tolist() == list(range(5))
    ready = prepare(REQUEST)
    batch = ready.batch([Image.open(photos / name) for name in manifest.images])
    cut = tuple(by.split(",")) if "," in by else by
    c = vd.Decomposer(ready.loaded, by=cut).fit(batch[:1]).transform(batch)
    assert manifest.components == c.components
    assert torch.allclose(torch.cat([part["values"] for part in parts]), c.values, rtol=1e-10, atol=1e-12)
    assert torch.cat([part["error"] for part in parts]).shape == (5,)


def test_the_manifest_tells_all(photos):
    summary = extract(REQUEST, job(photos), LOADING)
    written = json.loads((photos.parent / "parts" / "manifest.json").read_text())
    assert written["model"] == "tiny:vit"
    assert written["weights"] == weights_checksum(prepare(REQUEST).loaded.module)
    assert written["preprocessing"] == "PlainPreprocess(size=(3, 16, 16))"
    assert written["images"] == ["0.png", "1.png", "2.png", "inner/3.png", "inner/4.png"]
    assert written["components"][0]["kind"] == "attn"
    assert [shard["file"] for shard in written["done"]] == [
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    ]
    assert summary["images"] == 5
    assert Manifest.read(photos.parent / "parts").complete


def test_a_damaged_shard_is_made_again(photos):
    out = photos.parent / "parts"
    extract(REQUEST, job(photos), LOADING)
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "shard-00001.safetensors").write_bytes(b"damaged")
    (out / "shard-00000.safetensors.partial").write_bytes(b"left by a killed run")
    seen = []
    extract(REQUEST, job(photos), LOADING, lambda done, total: seen.append((done, total)))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole
    assert seen == [(5, 5)]


def test_nothing_is_done_twice(photos):
    extract(REQUEST, job(photos), LOADING)
    seen = []
    extract(REQUEST, job(photos), LOADING, lambda done, total: seen.append(done))
    assert seen == []


def test_limit_takes_the_first_images(photos):
    assert extract(REQUEST, job(photos, limit=2), LOADING)["images"] == 2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"request": {"model": "tiny:deep"}}, "components"),
        ({"request": {"seed": 1}}, "weights"),
        ({"request": {"dtype": "float32"}}, "dtype"),
        ({"job": {"by": "block"}}, "by"),
        ({"job": {"limit": 4}}, "images"),
        ({"job": {"shard_size": 2}}, "shard_size"),
    ],
    ids=str,
)
def test_another_extraction_is_refused(photos, change, word):
    out = photos.parent / "parts"
    extract(REQUEST, job(photos), LOADING)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    request = Request(
        **{
            **{"model": "tiny:vit", "random_weights": True, "device": "cpu", "dtype": "float64"},
            **change.get("request", {}),
        }
    )
    with pytest.raises(vd.OutputError, match=f"another extraction.*{word}"):
        extract(request, job(photos, **change.get("job", {})), LOADING)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_an_unreadable_image_is_named_and_its_shard_not_written(photos):
    (photos / "inner" / "4.png").write_bytes(b"broken")
    with pytest.raises(vd.InputError, match=r"cannot read image .*4\.png.*--skip-unreadable"):
        extract(REQUEST, job(photos), LOADING)
    assert [path.name for path in (photos.parent / "parts").glob("*.safetensors")] == ["shard-00000.safetensors"]


def test_unreadable_images_can_be_left_out(photos):
    for name in ("0.png", "inner/3.png", "inner/4.png"):
        (photos / name).write_bytes(b"broken")
    summary = extract(REQUEST, job(photos), Loading(batch_size=2, skip_unreadable=True))
    assert summary["skipped"] == ["0.png", "inner/3.png", "inner/4.png"]
    assert summary["images"] == 2
    parts = shards(photos.parent / "parts")
    assert [part["rows"].tolist() for part in parts] == [[1, 2], []]
    assert parts[1]["values"].shape == (0, *parts[0]["values"].shape[1:])


def test_if_no_image_can_be_read_nothing_is_written(photos):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(vd.InputError, match="none of 5 images"):
        extract(REQUEST, job(photos), Loading(skip_unreadable=True))
    assert not (photos.parent / "parts").exists()


@pytest.mark.parametrize("content", ["{}", "no json", '{"schema": 99}', "[]"])
def test_a_foreign_manifest_is_not_overwritten(photos, content):
    out = photos.parent / "parts"
    out.mkdir()
    (out / "manifest.json").write_text(content)
    with pytest.raises(vd.OutputError, match="is not a manifest"):
        extract(REQUEST, job(photos), LOADING)
    assert (out / "manifest.json").read_text() == content


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
    with pytest.raises(vd.OutputError, match=r"another extraction.*digests"):
        extract(REQUEST, job(photos), LOADING)


def test_whole_representations_are_those_of_the_model(photos):
    extract(REQUEST, job(photos, by="representation"), LOADING)
    parts = shards(photos.parent / "parts")
    ready = prepare(REQUEST)
    x = ready.batch([Image.open(path) for path in sorted(photos.rglob("*.png"))])
    with torch.no_grad():
        expected = ready.loaded.representation()(x)
    assert torch.allclose(torch.cat([part["values"] for part in parts])[:, 0], expected, atol=1e-12)
