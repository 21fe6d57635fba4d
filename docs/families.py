"""Write the table of supported families into README.md: `python docs/families.py` (a few minutes on two cores).

Every row is a real model with random weights, all parameters moved, decomposed in float64 on one random image.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import torch
from rich.progress import track

import vitdecomp as vd
from vitdecomp.testing import randomise

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- families:begin -->", "<!-- families:end -->"
HEADER = """| family | model | components | attentions (heads) | opened gates | coverage | error |
|---|---|---:|---|---|---|---:|
"""
FAMILIES = {
    "ViT, class token": "timm:vit_tiny_patch16_224",
    "ViT, average pool and registers": "timm:vit_little_patch16_reg4_gap_256",
    "DeiT, distilled": "timm:deit_tiny_distilled_patch16_224",
    "DeiT III (layer scale)": "timm:deit3_small_patch16_224",
    "DINO": "timm:vit_small_patch16_224.dino",
    "DINOv2, registers": "timm:vit_small_patch14_reg4_dinov2",
    "DINOv3": "timm:vit_small_patch16_dinov3",
    "BEiT": "timm:beitv2_base_patch16_224",
    "EVA-02": "timm:eva02_tiny_patch14_224",
    "SigLIP (attention pool)": "timm:vit_base_patch16_siglip_224",
    "CaiT": "timm:cait_xxs24_224",
    "Swin": "timm:swin_tiny_patch4_window7_224",
    "Swin V2": "timm:swinv2_tiny_window8_256",
    "MaxViT": "timm:maxvit_tiny_tf_224",
    "CoAtNet": "timm:coatnet_nano_rw_224",
    "XCiT": "timm:xcit_nano_12_p16_224",
    "PVT v2": "timm:pvt_v2_b0",
    "MViT v2": "timm:mvitv2_tiny",
    "Hiera": "timm:hiera_tiny_224",
    "ConvNeXt": "timm:convnext_atto",
    "open_clip ViT": "open_clip:ViT-B-32",
    "open_clip SigLIP": "open_clip:ViT-B-16-SigLIP",
    "open_clip EVA": "open_clip:EVA02-B-16",
    "open_clip CoCa": "open_clip:coca_ViT-B-32",
    "torchvision ViT": "torchvision:vit_b_32",
}


def row(family: str, spec: str) -> str:
    """One line of the table."""
    torch.manual_seed(0)
    model = vd.load_model(spec, pretrained=False)
    randomise(model.module.double(), seed=0)
    images = torch.randn(1, *(model.input_size or (3, 224, 224)), dtype=torch.float64)
    report = vd.Decomposer(model).fit(images).report_
    heads = ", ".join(map(str, sorted(set(report.heads.values())))) or "-"
    reached = len(report.sites) - len(report.missing)
    cells = (
        family,
        f"`{spec}`",
        len(report.components),
        f"{len(report.heads)} ({heads})",
        len(report.opened) or "-",
        f"{reached} of {len(report.sites)}",
        f"{report.error:.0e}",
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def main() -> None:
    """Make the table and put it between its marks."""
    warnings.simplefilter("ignore")
    rows = "".join(row(*item) for item in track(FAMILIES.items(), "families"))
    text = README.read_text(encoding="utf-8")
    table = f"{BEGIN}\n{HEADER}{rows}{END}"
    README.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
