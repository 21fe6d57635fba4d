"""What every head of a vision transformer sees, in a CLIP's words: `docs/images/heads.png`."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from style import FAINT, FEATURES, INK, figure, legend, save, tint
from vitdecomp_alignment import Readout
from vitdecomp_alignment.readout.roles import Role
from vitdecomp_alignment.texts import scene_features
from world import features, scenes, seen, vectors

from vitdecomp import Component
from vitdecomp.scenes import FACTORS

MODEL, N = "scenes:deit", 600
BLOCKS, MLP = 6, 8.25  # the column of MLPs lies behind eight heads


def draw() -> Path:
    """Name every head and MLP, and color it by the feature that it sees."""
    data = scenes(N)
    (subject,) = seen(MODEL, data)
    values = [(name, value) for name in scene_features() for value in FACTORS[name]]
    named = Readout(m=1).fit(
        subject.c,
        vectors(data),
        torch.cat([*features().values()]),
        [value for _, value in values],
        features=[name for name, _ in values],
        components=[c for c in subject.c.components if not c.is_constant],
    )
    drawn = figure(3.7)
    axes = drawn.add_axes((0.07, 0.015, 0.92, 0.8))
    axes.set(xlim=(-0.5, MLP + 0.5), ylim=(BLOCKS - 0.5, -0.5))
    axes.set_axis_off()
    for i, component in enumerate(named.components_):
        tile(axes, component, named.labels_[i][0], named.scores_[i][0], named.roles_[i])
    headings(axes)
    legend(drawn, 0.945, ("sees, above all",), tuple(FEATURES), "pale: no clear role")
    return save(drawn, "heads")


def tile(axes: Axes, component: Component, word: str, r2: float, role: Role | None) -> None:
    """Draw one component: the word that is best read from it, and with which R^2."""
    assert role is not None
    x = MLP if component.head is None else component.head
    y = int(component.block.rpartition(".")[2])
    color = tint(FEATURES[role.feature], 0.2 + 0.8 * r2 if role.clear else 0.14)
    box = FancyBboxPatch((x - 0.45, y - 0.41), 0.9, 0.82, boxstyle="round,pad=0,rounding_size=.09", fc=color, ec="none")
    axes.add_patch(box)
    ink = "white" if role.clear and r2 > 0.5 else INK if role.clear else FAINT
    axes.text(x, y - 0.1, word, ha="center", va="center", color=ink, fontsize=9.5)
    axes.text(x, y + 0.22, f"{r2:.2f}", ha="center", va="center", color=ink, fontsize=7)


def headings(axes: Axes) -> None:
    """Name rows and columns."""
    for block in range(BLOCKS):
        axes.text(-0.6, block, f"block {block}", ha="right", va="center", fontsize=9)
    for head in range(8):
        axes.text(head, -0.6, f"head {head}", ha="center", va="center", color=FAINT, fontsize=8.5)
    axes.text(MLP, -0.6, "MLP", ha="center", va="center", color=FAINT, fontsize=8.5)
