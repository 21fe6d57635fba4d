"""What the command imports: only what the verb at hand uses, so that it starts at once."""

import json
import os
import subprocess
import sys

import torch
from PIL import Image
from vitdecomp_alignment import ClipSpace, ClosedForm

import vitdecomp as vd
from vitdecomp.cli.main import app
from vitdecomp.extract import ExtractConfig, extract
from vitdecomp.models.prepare import ModelOptions
from vitdecomp.scenes import SceneDataset

ADAPTERS = {"open_clip", "timm", "torchvision", "transformers"}
TABLES = {"datasets", "faiss", "lance", "matplotlib", "pandas", "pyarrow", "scipy", "sklearn"}
STORE = {"lance", "numpy", "pandas", "pyarrow", "torch"}  # pyarrow takes pandas if it is there
HEAVY = {"networkx", "numpy", "torch", *ADAPTERS, *TABLES}

SCRIPT = """
import json, sys
from vitdecomp.cli.main import main

def modules_after(arguments):
    sys.argv = ["vitdecomp", *arguments]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, arguments
    return sorted(module for module in sys.modules if "." not in module)

json.dump([modules_after(arguments) for arguments in json.loads(sys.argv[1])], sys.stderr)
"""


def imported(*runs: list[str]) -> list[set[str]]:
    """Of the heavy libraries, those that are imported after each of some commands in one process."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(runs)]
    plain = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "PYTHONWARNINGS")}
    done = subprocess.run(command, env=plain, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return [HEAVY & {*modules} for modules in json.loads(done.stderr.splitlines()[-1])]


def test_help_needs_no_library():
    verbs = {command.callback.__name__ for command in app.registered_commands if command.callback}
    verbs |= {
        "align",
        "app",
        "debias",
        "describe",
        "explain",
        "rank",
        "search",
        "segment",
    }  # of a plugin, which this process may not have loaded
    assert verbs >= {"ablate", "demo", "extract", "inspect", "models", "scenes"}
    *_, all_of_them = imported(["--version"], ["--help"], *([verb, "--help"] for verb in sorted(verbs)))
    assert all_of_them == set()


def test_a_verb_imports_what_it_uses():
    listed, inspected = imported(["models", "scenes:*"], ["inspect", "scenes:deit", "--quiet"])
    assert listed <= {"numpy", "torch"}
    assert {"timm", "torch"} <= inspected <= HEAVY - TABLES - {"open_clip", "transformers"}


def drawn(place, model):
    """A store of a few small pictures."""
    place.mkdir()
    for i, pixels in enumerate(SceneDataset(4).arrays(range(4))):
        Image.fromarray(pixels).save(place / f"{i}.png")
    store = str(place / "s.lance")
    extract(ModelOptions(model, device="cpu"), ExtractConfig(place), store)
    return store


def test_a_search_imports_what_it_uses(tmp_path):
    """For an image of a store no model, for a text with maps no scikit-learn, for a text the text tower alone."""
    deit, clip = (drawn(tmp_path / name, f"scenes:{name}") for name in ("deit", "clip"))
    maps = tmp_path / "m.safetensors"
    ClosedForm().fit(vd.Store(deit), torch.randn(4, ClipSpace("scenes:clip").dimension)).save(maps)
    few, text = ("--k", "2", "--quiet"), ("--text", "a red thing", "--device", "cpu")
    runs = [
        ["search", "--store", deit, "--image", str(tmp_path / "deit" / "0.png"), *few],
        ["search", "scenes:deit", "--store", deit, "--maps", str(maps), "--clip", "scenes:clip", *text, *few],
        ["search", "scenes:clip", "--store", clip, *text, *few],
        ["search", "scenes:clip", "--store", clip, *text, *few, "--dtype", "float64"],
    ]
    *light, whole = imported(*runs)
    assert all(found <= STORE for found in light)
    assert {"open_clip", "timm"} <= whole
