"""Trained weights that cannot be had: quickly said, in one line, with nothing left behind."""

import logging
import socket
import time
import warnings

import pytest
from huggingface_hub import constants

import vitdecomp as vd
from vitdecomp._utils import hub


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    """A hub that does not answer, and an empty cache."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "_reachable", lambda: False)


def settings():
    root = logging.getLogger()
    return (list(root.handlers), root.manager.disable, socket.getdefaulttimeout(), constants.HF_HUB_OFFLINE)


@pytest.mark.parametrize(
    "spec",
    [
        "timm:deit_tiny_patch16_224.fb_in1k",
        "open_clip:ViT-B-32/laion2b_s34b_b79k",
        "hf:google/vit-base-patch16-224",
    ],
)
def test_offline_is_one_line_with_the_remedies(spec, unreachable, capfd):
    before, began = settings(), time.perf_counter()
    with pytest.raises(vd.LoadError, match="cannot get the trained weights of") as caught:
        vd.load_model(spec)
    assert time.perf_counter() - began < 30
    message = str(caught.value)
    assert "\n" not in message
    for remedy in (
        "cannot be reached",
        "--random-weights",
        "pretrained=False",
        "--checkpoint",
        "HF_HUB_OFFLINE=1",
    ):
        assert remedy in message
    assert settings() == before
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_library_is_not_taken_for_a_missing_file(unreachable):
    with pytest.raises(vd.LoadError, match="KeyError: 'weights'"), hub.fetching("timm:x"):
        raise KeyError("weights")


def test_our_own_errors_pass_through(unreachable):
    with pytest.raises(vd.SpecError, match="mine"), hub.fetching("timm:x"):
        raise vd.SpecError("mine")


def test_libraries_are_quiet_and_then_as_they_were(capfd):
    before = settings()
    with hub.quiet():
        logging.warning("from a library")
        warnings.warn("from a library", stacklevel=1)
    assert settings() == before
    assert capfd.readouterr() == ("", "")


def test_random_weights_without_a_configuration_are_told_so(unreachable):
    with pytest.raises(vd.LoadError, match=r"cannot get the configuration .* of hf:nobody/nothing") as caught:
        vd.load_model("hf:nobody/nothing", pretrained=False)
    assert "Give a folder that save_pretrained has written" in str(caught.value)
    assert "--random-weights" not in str(caught.value)
