"""What every test has: one thread a worker, a tiny model, and the command."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import commands
import pytest
import shape_checks
import torch
from helpers import randomised
from timm.models.vision_transformer import VisionTransformer
from torch import nn

# What tests import stays, so nobody collects garbage meanwhile; and they are compiled once, whatever the user's habit:
# to rewrite their assertions again takes each worker ten seconds.
gc.disable()
sys.dont_write_bytecode = False

# Shape annotations are checked while the tests run, in the core and in the plugins. Modules without any are left
# alone: mypy has checked their types, and to check them again at each call takes a third of the time of a fit.
ROOT = Path(__file__).parents[1]
PACKAGES = "vitdecomp", "adapters/vitdecomp_adapters", "adapters/scenes_training", "alignment/vitdecomp_alignment"
CHECKED = [
    ".".join(path.relative_to((ROOT / package).parent).with_suffix("").parts)
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if "jaxtyping import" in path.read_text()
]
shape_checks.install(CHECKED)

# One thread for each worker, and for each command that it runs: more would fight for two cores.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

# pytest listens to every logger that does not propagate. To torch's structured trace, a listener means that every
# export is to be written down in full: a fifth of the time of a fit.
logging.getLogger("torch.__trace").propagate = True


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays until the end: the libraries, and the tests themselves."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 10, 10)


def pytest_runtest_setup() -> None:
    """Check shapes anew."""
    shape_checks.seen.clear()


def pytest_unconfigure() -> None:
    """Give back what was spared: at the end, extensions tell what they think has leaked."""
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="session")
def _cache_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from the user's cache or written to it; tests may find what others have left, as users do."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp()  # of this run, or below it of this worker
        folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
        patch.setenv("VITDECOMP_CACHE", str(folder / "cache"))
        yield


@pytest.fixture
def tiny_vit() -> nn.Module:
    """A class-token ViT with three blocks of four heads."""
    return randomised(VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=4, num_classes=0))


@pytest.fixture(scope="session")
def in_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command in this process and in a folder."""
    return commands.in_process
