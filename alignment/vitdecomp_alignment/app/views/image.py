"""One image: what its blocks contribute, and what its parts say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import normalize

from vitdecomp._utils.progress import Stage
from vitdecomp_alignment.app import recipe
from vitdecomp_alignment.app.names import centers
from vitdecomp_alignment.app.pictures import as_uri
from vitdecomp_alignment.app.session import Session
from vitdecomp_alignment.app.views.photograph import Photograph

PARTS = 16  # components that are named
WORDS = 3  # texts of each
WHOLE = 5  # texts of the whole image


@dataclass(frozen=True, slots=True)
class ImageView(Photograph):
    """Take an image apart."""

    def answer(self, session: Session, stage: Stage) -> dict[str, Any]:
        """Return the share of every block and component, and words of the largest parts.

        The share of a part c of the sum r is <c, r> / |r|^2; all shares add up to 1.
        """
        image = self.open(session)
        with stage("decomposing the image"):
            c = session.decompose([image])
        total = c.total()[0]
        shares = (c.values[0] @ total / total.square().sum()).tolist()
        blocks = dict[str, float]()
        for component, share in zip(c.components, shares, strict=True):
            place = "constants" if component.is_constant else component.block or component.name
            blocks[place] = blocks.get(place, 0.0) + share
        with stage("words"):
            whole, parts = self._words(session, c)
        return {
            "name": self.name(session),
            "picture": as_uri(image),
            "error": float(c.error[0]),
            "length": float(total.norm()),
            "blocks": [{"block": block, "share": share} for block, share in blocks.items()],
            "shares": {x.name: share for x, share in zip(c.components, shares, strict=True)},
            "words": whole,
            "parts": sorted(
                ({**part, "share": shares[part.pop("place")]} for part in parts), key=lambda part: -abs(part["share"])
            ),
        }

    def commands(self, session: Session) -> list[str]:
        """Write what decomposes the image and prints the same shares."""
        return [recipe.shell_python(self.python(session))]

    def python(self, session: Session) -> str:
        """Write what decomposes the image and prints the same shares."""
        return recipe.python(
            session,
            "from pathlib import Path",
            "from vitdecomp.images.opening import open_image",
            "",
            f"c = session.decompose([open_image(Path({self.file(session)!r}))])",
            'for row in c.to_dataframe()[["component", "norm", "share"]].itertuples(index=False):',
            "    print(*row)",
        )

    def _words(self, session: Session, c: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the texts that are nearest to the whole, and to what each large part adds to its mean."""
        labels, texts = session.pool
        pool = normalize(texts.double(), dim=1)
        mapped = session.aligned(c)
        varying = [i for i, component in enumerate(c.components) if not component.is_constant]
        order = c.values[0].norm(dim=1)[varying].argsort(descending=True).tolist()[:PARTS]
        chosen = [varying[i] for i in order]
        place = {component.name: i for i, component in enumerate(mapped.components)}
        rows = [place[c.components[i].name] for i in chosen]
        means = centers(session, [mapped.components[i] for i in rows])
        parts = normalize(mapped.values[0, rows].double() - means, dim=1)
        mean = centers(session, mapped.components).sum(0)
        whole = normalize(mapped.total()[0].double() - mean, dim=0)
        pool_mean = pool - pool.mean(0)
        similar = torch.cat([whole[None], parts]) @ normalize(pool_mean, dim=1).T
        best = similar.topk(min(WHOLE, len(labels)), dim=1)
        told = [
            [{"text": labels[i], "similarity": s} for s, i in zip(*pair, strict=True)]
            for pair in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        found = zip(chosen, told[1:], strict=True)
        return told[0], [{"place": i, "component": c.components[i].name, "words": words[:WORDS]} for i, words in found]
