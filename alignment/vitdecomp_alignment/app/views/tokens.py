"""The latent tokens of an image in words: every token of every layer by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from vitdecomp._utils.progress import Stage
from vitdecomp._utils.schema import Within
from vitdecomp.latent import LatentTokens
from vitdecomp_alignment.app import recipe
from vitdecomp_alignment.app.pictures import as_uri
from vitdecomp_alignment.app.session import Session
from vitdecomp_alignment.app.views.photograph import Photograph


@dataclass(frozen=True, slots=True)
class TokensView(Photograph):
    """Describe the tokens of an image.

    Attributes:
        k: texts of each token.
    """

    k: Annotated[int, Within(1, 10)] = 3

    def answer(self, session: Session, stage: Stage) -> dict[str, Any]:
        """Return the nearest texts of each token in each layer.

        Raises:
            SpecError: tokens of this model say nothing by themselves; the message says why.
        """
        image = self.open(session)
        with stage("tracing tokens"):
            batch = session.subject.batch([image])
            latent: LatentTokens = session.once("latent", lambda: LatentTokens(session.decomposer).fit(batch))
        labels, _ = session.pool
        with stage("latent tokens"):
            found = latent.describe(batch, labels, session.space, k=self.k, aligner=session.found.aligner)
        similarities = found.similarities[0].tolist()
        tokens = [latent.tokens_[number] for number in found.tokens]
        return {
            "picture": as_uri(image),
            "layers": list(found.layers),
            "tokens": [{"kind": t.kind, "row": t.row, "column": t.column, "grid": t.grid} for t in tokens],
            "texts": [labels[i] for i in sorted(set(found.indices.flatten().tolist()))],
            "words": _compact(found.indices[0].tolist()),
            "similarities": [[[round(s, 4) for s in token] for token in layer] for layer in similarities],
        }

    def commands(self, session: Session) -> list[str]:
        """Write what makes a page of the same."""
        words = (f"--m={self.k}", "--out=tokens.html")
        return [recipe.command(session, "latent", *words, images=self.file(session))]

    def python(self, session: Session) -> str:
        """Write what prints the same."""
        return recipe.python(
            session,
            "import vitdecomp as vd",
            "from pathlib import Path",
            "from vitdecomp.images.opening import open_image",
            "",
            f"batch = session.subject.batch([open_image(Path({self.file(session)!r}))])",
            "latent = vd.LatentTokens(session.decomposer).fit(batch)",
            "aligner = session.found.aligner",
            f"said = latent.describe(batch, session.pool[0], session.space, k={self.k}, aligner=aligner)",
            "print(said.words(0, said.layers[-1], said.tokens[0]))",
        )


def _compact(indices: list[Any]) -> list[Any]:
    """Return texts by their place among those that occur."""
    place = {i: n for n, i in enumerate(sorted({i for layer in indices for token in layer for i in token}))}
    return [[[place[i] for i in token] for token in layer] for layer in indices]
