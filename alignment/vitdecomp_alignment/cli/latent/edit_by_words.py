"""An edit of tokens by the texts that name them, as the command line has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from vitdecomp.decompose import Decomposer
from vitdecomp.errors import InputError, SpecError
from vitdecomp.latent import Edited, Named, edit_tokens
from vitdecomp.latent.description import Vocabulary
from vitdecomp.latent.outcome import EditOutcome, edit_outcomes
from vitdecomp.sources.aligner import Aligner
from vitdecomp_alignment.clip.space import ClipSpace


@dataclass(frozen=True, slots=True)
class EditByWords:
    """Say which tokens are removed.

    Attributes:
        action: what is done. texts: that name the tokens. layers: in front of which blocks. read: the layer in which
            tokens are read.
    """

    action: Literal["remove"]
    texts: tuple[str, ...]
    layers: tuple[int, ...]
    read: int

    @classmethod
    def asked(
        cls,
        action: Literal["remove"] | None,
        texts: tuple[str, ...],
        layers: tuple[int, ...] | None,
        read: int | None = None,
    ) -> EditByWords | None:
        """Return what the flags ask for; `None` for no edit.

        Args:
            action: what is done.
            texts: that name the tokens.
            layers: in front of which blocks; by default the first.
            read: the layer in which tokens are read; by default the first of `layers`.

        Raises:
            SpecError: some of the flags without the others.
        """
        if action is None:
            given = {"--text": bool(texts), "--at": layers is not None, "--read": read is not None}
            flag = next((flag for flag, there in given.items() if there), None)
            if flag is not None:
                raise SpecError(f"{flag} says which tokens are edited: give --edit remove too")
            return None
        if not texts:
            raise SpecError(f"--edit {action} needs --text: a text that names the tokens; repeatable")
        layers = layers or (0,)
        return cls(action, texts, layers, layers[0] if read is None else read)

    @property
    def sentence(self) -> str:
        """Say in words what is done."""
        named = " or ".join(f"“{text}”" for text in self.texts)
        where = " and ".join(map(str, self.layers))
        return f"Patches whose best text in layer {self.read} is {named} are set to zero in front of block {where}."

    def ready(
        self, decomposer: Decomposer, texts: Sequence[str], space: ClipSpace, aligner: Aligner | None, k: int
    ) -> ReadyEdit:
        """Encode the texts.

        Args:
            decomposer: of the model, fitted.
            texts: the others, which name all else.
            space: gives texts vectors.
            aligner: maps into their space, for models without texts.
            k: texts of each representation.

        Raises:
            SpecError: no such layer, or tokens of this model cannot be edited. InputError: no other texts.
        """
        named = Named(self.texts, texts, self.read, space, aligner)
        edited = edit_tokens(decomposer, remove=named, layers=self.layers)
        vocabulary = Vocabulary.of(texts, space.encode_text, aligner, decomposer.report_.dimension)
        return ReadyEdit(self, edited, decomposer, vocabulary, k)


@dataclass(frozen=True, slots=True)
class ReadyEdit:
    """An edit of a traced model.

    Attributes:
        asked: what is done. edited: the model with it. decomposer: of the model. vocabulary: texts of representations.
        k: how many of them.
    """

    asked: EditByWords
    edited: Edited
    decomposer: Decomposer
    vocabulary: Vocabulary
    k: int

    def outcomes(self, images: Tensor) -> list[EditOutcome]:
        """Edit some images."""
        return edit_outcomes(self.edited, self.decomposer, images, self.vocabulary, self.k)

    def check(self, outcomes: Sequence[EditOutcome]) -> None:
        """Refuse an edit that changes nothing.

        Raises:
            InputError: no token of any image is edited.
        """
        if not any(outcome.tokens for outcome in outcomes):
            asked, n = self.asked, len(outcomes)
            raise InputError(
                f"--edit {asked.action} matches no token: in none of {n} {'image' if n == 1 else 'images'} is the best "
                f"text of a patch in layer {asked.read} one of {', '.join(map(repr, asked.texts))}; "
                "give another --text, or another layer by --read; without --edit the command shows the best texts"
            )
