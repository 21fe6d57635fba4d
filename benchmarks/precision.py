r"""How exact a sum is in each number format: what is promised, and the worst of a handful of small models.

    python benchmarks/precision.py                          two minutes on a core
    python benchmarks/precision.py vit_cls swin -n 2        some models, fewer images
    python benchmarks/precision.py --out docs/benchmarks

Weights are random, and all parameters are moved. *Error* is |sum - representation| / |representation|, the worst of all
images, with the representation that the model itself computes in that format. *Rounded* is how far the contributions
are from those of the same model in float64, relative to all of them: what the format costs, not the decomposition.
8-bit weights need torchao (`pip install 'vitdecomp[quantized]'`); without it they are left out.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from sheets import Result, Sheet, write
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp._utils.tolerance import relative_error

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers import pictures, randomised
from zoo import ZOO

MODELS = ("vit_cls", "vit_avg", "dinov2", "siglip", "cait", "swin", "coatnet", "open_clip_vit")
HEADER = ("model", "format", "allowed", "error", "rounded")
Change = Callable[[nn.Module], nn.Module]


def in_bits(module: nn.Module) -> nn.Module:
    """Quantize the weights of linear layers to 8 bits."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(module, Int8WeightOnlyConfig())
    return module


def _cast(dtype: torch.dtype) -> Change:
    return lambda module: module.to(dtype)


def _quantized(dtype: torch.dtype) -> Change:
    return lambda module: in_bits(module.to(dtype))


FORMATS: dict[str, tuple[torch.dtype, Change, torch.dtype | None]] = {
    **{name: (getattr(torch, name), _cast(getattr(torch, name)), None) for name in ("float64", "float32", "float16")},
    "bfloat16": (torch.bfloat16, _cast(torch.bfloat16), None),
    "autocast float16": (torch.float32, _cast(torch.float32), torch.float16),
    "autocast bfloat16": (torch.float32, _cast(torch.float32), torch.bfloat16),
    "8-bit weights, float32": (torch.float32, _quantized(torch.float32), None),
    "8-bit weights, bfloat16": (torch.bfloat16, _quantized(torch.bfloat16), None),
}
"""By name: the format of images, what becomes of the model, and the format of autocast."""


def computed(dtype: torch.dtype, model: vd.LoadedModel, module: nn.Module, images: Tensor) -> Tensor:
    """Return the embedding under autocast."""
    with torch.autocast(images.device.type, dtype):
        found: Tensor = model.outputs["embedding"](module, images)
    return found


def measure(name: str, n: int) -> dict[str, dict[str, float]]:
    """Measure the errors of a model in every format."""
    torch.manual_seed(0)
    module, images = randomised(ZOO[name].make()), pictures(n, ZOO[name].size)
    found: dict[str, dict[str, float]] = {}
    exact: dict[str, Tensor] = {}
    for title, (dtype, change, mixed) in FORMATS.items():
        if title.startswith("8-bit") and find_spec("torchao") is None:
            continue
        loaded = vd.load_model(change(copy.deepcopy(module)))
        output: Any = "embedding" if mixed is None else partial(computed, mixed, loaded)
        x = images.to(dtype)
        decomposer = vd.Decomposer(loaded, output=output, cache=None).fit(x[:1])
        c = decomposer.transform(x)
        with torch.no_grad():
            wanted = loaded.representation(output)(x)
        values = {component.name: c.values[:, i].double() for i, component in enumerate(c.components)}
        exact = exact or values
        apart = torch.stack([values[k] - exact[k] for k in exact]).norm() / torch.stack([*exact.values()]).norm()
        error = float(relative_error(c.total(), wanted).max())
        found[title] = {"allowed": decomposer.allowed_error, "error": error, "rounded": float(apart)}
    return found


def sheets(results: dict[str, dict[str, dict[str, float]]]) -> list[Sheet]:
    """Make one table of the worst of each format, and one of all models."""
    worst = []
    for title in FORMATS:
        some = [(name, found[title]) for name, found in results.items() if title in found]
        if some:
            name, _ = max(some, key=lambda item: item[1]["error"])
            numbers = [max(figures[key] for _, figures in some) for key in HEADER[2:]]
            worst.append([title, name, *(f"{x:.0e}" if i == 0 else f"{x:.1e}" for i, x in enumerate(numbers))])
    rows = [
        [name, title, f"{figures['allowed']:.0e}", f"{figures['error']:.1e}", f"{figures['rounded']:.1e}"]
        for name, found in results.items()
        for title, figures in found.items()
    ]
    return [
        Sheet("The worst of each format", ("format", "in model", *HEADER[2:]), worst, words=2),
        Sheet("All models", HEADER, rows, words=2),
    ]


def main(
    models: Annotated[list[str] | None, typer.Argument(help="Models; default: all.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Images.")] = 8,
    out: Annotated[Path | None, typer.Option(help="Write `precision.md` and `precision.json` here.")] = None,
) -> None:
    warnings.simplefilter("ignore")
    results = {name: measure(name, n) for name in models or MODELS}
    tables = sheets(results)
    for table in tables:
        Console(width=120).print(table.rich())
    if out is not None:
        sentence = "How exact sums are in each number format: [what is promised](../precision.md)."
        figures = {"Small models, random weights": Result(results, tables)}
        write(out, "precision", ("Number formats", sentence), {"n": n}, figures)


if __name__ == "__main__":
    typer.run(main)
