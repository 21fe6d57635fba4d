"""A model and images for extractions by several processes, and what their stores must have in common."""

import pytest
import torch
from PIL import Image

from vitdecomp.store.encoding import PRECISIONS
from vitdecomp.store.schema import STAGING

N, SIZE = 64, 2
MODEL = """
import os
from pathlib import Path
import torch
from timm.models.vision_transformer import VisionTransformer

Path(f"pid-{os.environ.get('RANK')}").write_text(str(os.getpid()))

def tiny():
    torch.manual_seed(0)
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=5)
"""


@pytest.fixture
def place(tmp_path):
    """A model, and pictures: the first two twice, so that nothing new comes with them, and then others."""
    (tmp_path / "own.py").write_text(MODEL)
    (tmp_path / "photos").mkdir()
    pixels = torch.randint(256, (N, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for i in range(N):
        Image.fromarray(pixels[i - 2 if i in (2, 3) else i].numpy()).save(tmp_path / "photos" / f"{i:02d}.png")
    return tmp_path


def words(out, *more):
    return ("extract", "python:own:tiny", "--images", "photos", "--out", out, "--chunk-size", SIZE, *more)


def assert_same(found, expected):
    """The rows of one process in its order; what is read of them is equal up to the promise."""
    assert found.ids == expected.ids, (found.ids, expected.ids)
    assert found.fingerprint() == expected.fingerprint()
    assert torch.equal(found.embedding(), expected.embedding())
    n, promise = len(expected), PRECISIONS["float16"].promise
    one, other = (store.take(range(n)).values for store in (found, expected))
    assert bool(((one - other).norm(dim=2) <= 2.1 * promise * other.norm(dim=2)).all())
    assert float(found.loss().max()) <= promise
    for component in expected.components:
        one, other = (store.basis(component) for store in (found, expected))
        assert (one is None and other is None) or torch.equal(one, other)
    assert not (found.paths[0].parents[1] / "s.lance" / STAGING).exists()
