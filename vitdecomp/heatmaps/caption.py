"""What stands under every map: the score, what the map leaves out of it, and which components it comes from."""

from __future__ import annotations

import math

from vitdecomp.heatmaps.heatmaps import Heatmaps

FROM = "from"  # the components with the largest shares
ROUNDING = 0.01  # a larger residual is a part of the score, of which more than the size is of interest


def caption(maps: Heatmaps, row: int, column: int) -> dict[str, str]:
    """Write the audit of one map, each share in percent of the sizes of all parts together.

    Returns:
        What is said, by its name; what a method does not claim or nobody measured is left out.
    """
    audit = maps.audit
    score = float(audit.score[row, column])
    said = {"score": f"{score:.3g}"}
    residual = float(audit.residual[row, column])
    if not math.isnan(residual):
        parts = {
            "map": float(maps.grid[row, column].sum()),
            "constants": float(audit.constants[row, column]),
            "no place": float(audit.placeless[row, column]),
        }
        said |= {name: f"{value:+.3g}" for name, value in parts.items()}
        said["residual"] = f"{residual:+.3g}" if abs(residual) > ROUNDING else f"{abs(residual):.0e}"
    gap = float(audit.gate_gap[row, column])
    if not math.isnan(gap):
        said["gate gap"] = f"{gap:.0%}"
    if maps.components is not None:
        largest = maps.components.largest(row, column)
        said[FROM] = ", ".join(f"{name} {share:{'+' if maps.signed else ''}.0%}" for name, share in largest.items())
    return said
