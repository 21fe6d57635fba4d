"""Old spellings of flags, flags that mean the same everywhere, and completion."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from commands import COMMAND, in_process

from vitdecomp._utils.registry import offered
from vitdecomp.cli.main import GROUP, app

offered(GROUP)
COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def old_spellings() -> Iterator[tuple[str, str, str]]:
    """Each command, an old flag, and the one that help shows in its place."""
    for name, command in COMMANDS.items():
        options = [p for p in command.params if p.param_type_name == "option"]
        shown = {p.name: p for p in options if not p.hidden}
        for option in options:
            if option.hidden and option.name is not None:
                yield name, option.opts[0], shown[option.name.rpartition("_")[0]].opts[0]


OLD = sorted(old_spellings())


def parsed(name: str, *words: str) -> dict[str, object]:
    """What a command line means, by parameter; values of old spellings under the parameter's own name."""
    command = COMMANDS[name]
    required = ["scenes:deit" for p in command.params if p.param_type_name == "argument" and p.required]
    for option in command.params:
        if option.param_type_name == "option" and option.required and option.opts[0] not in words:
            required += [option.opts[0], "3"]
    found = command.make_context(name, [*required, *words]).params
    given = {key: value for key, value in found.items() if value not in (None, ())}
    old = {key: value for key, value in given.items() if key.rpartition("_")[2].isdigit()}
    new = {key: value for key, value in given.items() if key not in old}
    return new | {key.rpartition("_")[0]: value for key, value in old.items()}


def test_there_are_old_spellings() -> None:
    assert ("rank", "--k", "--top") in OLD
    assert ("extract", "--engine", "--executor") in OLD
    assert ("search", "--pictures", "--image-root") in OLD


@pytest.mark.parametrize(("name", "old", "new"), OLD)
def test_an_old_spelling_means_the_same_and_help_leaves_it_out(name: str, old: str, new: str) -> None:
    assert parsed(name, old, "3") == parsed(name, new, "3") != parsed(name)
    shown = {flag for p in COMMANDS[name].params if not getattr(p, "hidden", False) for flag in p.opts}
    assert new in shown
    assert old not in shown


def test_a_flag_means_the_same_in_every_command() -> None:
    """One help text for each flag, but for those whose subject differs with the command."""
    differs = {"--out", "--images", "--limit", "--features", "--top", "--seeds", "--method", "--by"}
    differs |= {"--checkpoint", "--clip", "--subspace", "--masks", "--text", "--class", "--split"}
    texts: dict[str, set[str]] = {}
    for command in COMMANDS.values():
        for option in command.params:
            if option.param_type_name == "option" and not option.hidden and option.opts[0] not in differs:
                texts.setdefault(option.opts[0], set()).add(option.help or "")
    unlike = {flag: found for flag, found in texts.items() if len(found) > 1}
    assert not unlike


def test_every_command_that_reads_images_has_strict() -> None:
    reading = {
        name for name, c in COMMANDS.items() if any("--images" in p.opts or "--data" in p.opts for p in c.params)
    }
    strict = {name for name, c in COMMANDS.items() if any("--strict" in p.opts for p in c.params)}
    assert reading - {"scenes", "demo"} <= strict
    assert {"inspect", "extract", "align", "describe", "rank", "search", "debias", "ablate"} <= strict


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of scenes, one of which cannot be read."""
    place = tmp_path_factory.mktemp("torn")
    assert in_process(place, "scenes", "--out", "photos", "--n", "12", "--quiet").returncode == 0
    first = sorted((place / "photos").rglob("*.png"))[0]
    first.write_bytes(b"torn")
    return str(place)


@pytest.mark.parametrize("name", ["inspect", "extract", "describe", "rank", "search"])
def test_an_unreadable_image_is_left_out_and_listed_or_stops_the_command(torn: str, name: str) -> None:
    more = {"extract": ("--out", f"{name}.lance"), "search": ("--text", "a red thing", "--k", "2")}.get(name, ())
    cache = () if name in ("inspect", "extract") else ("--cache", f"cache-{name}")
    words = (name, "scenes:clip", "--images", "photos", *more, *cache, "--json")
    strict = in_process(torn, *words, "--strict")
    assert strict.returncode == 2
    assert "cannot read image" in strict.stderr
    done = in_process(torn, *words)
    assert done.returncode == 0, done.stderr
    assert "000005.png" in done.stdout + done.stderr  # the first by name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered(shell: str) -> None:
    variables = {
        **os.environ,
        "_VITDECOMP_COMPLETE": f"source_{shell}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    done = subprocess.run([COMMAND], env=variables, capture_output=True, text=True, check=False, timeout=120)
    assert "_VITDECOMP_COMPLETE" in done.stdout, done.stderr
