"""Processes that torchrun starts write the store that one process writes, even if one of them is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

import vitdecomp as vd
from vitdecomp.store.encoding import PRECISIONS
from vitdecomp.store.lock import locked
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


def torchrun(place, *arguments, restarts=0):
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    return subprocess.Popen(
        [*launcher, "--max-restarts", str(restarts), "-m", "vitdecomp", *map(str, arguments)],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_same(found, expected):
    """The rows of one process in its order; what is read of them is equal up to the promise."""
    assert found.ids == expected.ids
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


@pytest.mark.slow
def test_two_processes_write_what_one_writes(place, in_process):
    (place / "photos" / "09.png").write_bytes(b"torn")
    process = torchrun(place, *words("s.lance", "--json"))
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert err.count(f" of {N}\n") <= 11  # the first process alone says how far it is
    told = json.loads(out)
    assert told == {**json.loads(in_process(place, *words("once.lance", "--json")).stdout), "out": "s.lance"}
    assert told["skipped"] == ["09.png"]
    assert told["images"] == told["added"] == N - 1
    assert_same(vd.Store(place / "s.lance"), vd.Store(place / "once.lance"))


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [0, 1])
def test_a_process_is_killed(place, in_process, restarts):
    """Torchrun ends the other, and starts both again if it may; otherwise one process goes on."""
    process = torchrun(place, *words("s.lance"), restarts=restarts)
    parts, end = place / "s.lance" / STAGING, time.monotonic() + 200
    while len(list(parts.glob("*/_versions/*.manifest"))) < 4:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.001)
    with pytest.raises(vd.OutputError, match="another process writes to"), locked(str(place / "s.lance")):
        pass
    os.kill(int((place / "pid-1").read_text()), signal.SIGKILL)
    _, err = process.communicate(timeout=200)
    assert (process.returncode == 0) == (restarts == 1), err
    if restarts == 0:
        with pytest.raises(vd.InputError, match="is not finished"):
            vd.Store(place / "s.lance")
        done = in_process(place, *words("s.lance", "--json"))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["images"] == N
    assert in_process(place, *words("once.lance", "--quiet")).returncode == 0
    assert_same(vd.Store(place / "s.lance"), vd.Store(place / "once.lance"))
