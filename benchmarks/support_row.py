"""One row of the support table: a model traced in float64, and what its contributions cost.

`python benchmarks/support_row.py timm levit` prints it as JSON; support.py starts it in a process of its own.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from support_candidates import Candidate, build, families
from timing import PLAIN, Conditions, measured, told
from torch import Tensor

from vitdecomp import Decomposer, LoadedModel, VitdecompError
from vitdecomp.models.random_weights import randomise
from vitdecomp.report import Report

BATCH = 2
ROUGH = (torch.float32, torch.bfloat16)
MOST = 3  # reasons that a row tells


def row(candidate: Candidate) -> dict[str, Any]:
    """Measure a model, on one thread."""
    torch.set_num_threads(1)
    randomise(candidate.loaded.module)
    images = torch.randn((BATCH, *candidate.shape), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parameters = sum(p.numel() for p in candidate.loaded.module.parameters())
    found: dict[str, Any] = {"model": candidate.spec, "shrunk": candidate.shrunk, "parameters": parameters}
    found["image"] = list(candidate.shape)
    began = time.perf_counter()
    try:
        exact = Decomposer(_in(candidate.loaded, torch.float64), cache=None).fit(images[:1])
    except VitdecompError as error:
        return {**found, "refused": told(error)}
    found["seconds"] = time.perf_counter() - began
    found |= described(exact.report_) | {"error": float(exact.transform(images).error.max())}
    del exact
    found["errors"] = {str(d).removeprefix("torch."): error_in(candidate.loaded, images, d) for d in ROUGH}
    return found if candidate.shrunk else found | costs(candidate.loaded, images.float())


def _in(loaded: LoadedModel, dtype: torch.dtype) -> LoadedModel:
    return replace(loaded, module=deepcopy(loaded.module).to(dtype).eval())


def described(report: Report) -> dict[str, Any]:
    """Say what the paths reach."""
    why = [f"{site.name}: {site.why}" for site in report.missing]
    return {
        "components": len(report.components),
        "attentions": len(report.heads),
        "heads": sorted(set(report.heads.values())),
        "opened": sum(gate.count for gate in report.opened),
        "blocks": len(report.sites),
        "missing": len(report.missing),
        "why": why[:MOST],
    }


def error_in(loaded: LoadedModel, images: Tensor, dtype: torch.dtype) -> float | str:
    """Measure the largest error of the sum in a number format, beside the model's own output in it."""
    try:
        dec = Decomposer(_in(loaded, dtype), cache=None, tolerance=float("inf")).fit(images[:1].to(dtype))
        return float(dec.transform(images.to(dtype)).error.max())
    except (VitdecompError, RuntimeError) as error:  # operations that a library does not have in a format
        return told(error)


def costs(loaded: LoadedModel, images: Tensor) -> dict[str, Any]:
    """Measure all contributions and one direction, in plain passes, in float32."""
    own = _in(loaded, torch.float32)
    module = own.representation()
    dec = Decomposer(own, cache=None, tolerance=float("inf")).fit(images[:1])
    q = torch.randn(1, dec.report_.dimension, generator=torch.Generator().manual_seed(2))

    def plain() -> Tensor:
        with torch.inference_mode():
            result: Tensor = module(images)
            return result

    tasks = {PLAIN: plain, "push": lambda: dec.transform(images), "pull": lambda: dec.attribute(images, q)}
    rows = measured(tasks, BATCH, Conditions(threads=1, rounds=3, seconds=2.0))
    return {r.task: r.ratio if not r.why else r.why for r in rows if r.task != PLAIN}


def main(library: str, name: str) -> None:
    """Print the row of a family as JSON."""
    warnings.simplefilter("ignore")
    (family,) = [f for f in families(library) if f.name == name]
    try:
        found = row(build(family))
    except VitdecompError as error:
        found = {"refused": told(error)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
