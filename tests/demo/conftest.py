"""A demo of two small models with random weights, on few pictures, made once."""

import json

import pytest


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The demo, and the folder that it was written to."""
    # Not above: where paths are given, pytest reads this file before the types of the package can be checked.
    from vitdecomp_alignment.demo import cue

    from vitdecomp.demo import Options, methods, run, run_demo

    out = tmp_path_factory.mktemp("made") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "MODELS", ("scenes:deit", "scenes:swin"))
        patch.setattr(run, "FEATURED", 200)
        patch.setattr(run, "OTHERS", 100)
        patch.setattr(cue, "SEEN", 120)
        patch.setattr(methods, "LEFT_OUT", (*methods.LEFT_OUT, "integrated-gradients", "occlusion"))  # many runs each
        return run_demo(Options(random_weights=True), out), out


@pytest.fixture(scope="session")
def demo(made):
    return made[0]


@pytest.fixture(scope="session")
def page(made):
    return (made[1] / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def summary(made):
    return json.loads((made[1] / "summary.json").read_text(encoding="utf-8"))
