"""What all steps in words share: every model's way into CLIP's space, and scores of its components by words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.files import cache_directory
from vitdecomp.contributions import Contributions
from vitdecomp.demo.context import Context
from vitdecomp.demo.subject import Subject
from vitdecomp.score import FeatureScorer
from vitdecomp.sources.aligned import Aligned
from vitdecomp.sources.source import Source
from vitdecomp_alignment.aligners.closed_form import ClosedForm
from vitdecomp_alignment.clip.space import ClipSpace
from vitdecomp_alignment.evaluation.naming import FactorWords, Labels
from vitdecomp_alignment.texts import FEATURE_WORDS, scene_features


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """One model, of which the even pictures are learned from and the odd ones are looked at.

    Attributes:
        subject: the model. learned: contributions to the even pictures. c: to the odd ones.
        aligner: takes both into CLIP's space; nothing if they are there. whole: CLIP's own vectors of the odd pictures.
        labels: the truth of the odd pictures. scorer: fitted to the even pictures.
    """

    subject: Subject
    learned: Contributions
    c: Contributions
    aligner: ClosedForm | None
    whole: Float[Tensor, "n d"]
    labels: Labels
    scorer: FeatureScorer

    def mapped(self) -> Contributions:
        """Return the contributions to the odd images in CLIP's space."""
        return self.c if self.aligner is None else self.aligner.transform(self.c)


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """The words, and the models that are told in them.

    Attributes:
        space: where texts are. about: words for the factors that are known. features: words of features, and
            texts: their vectors. told: the models, the featured one first.
    """

    space: ClipSpace
    about: FactorWords
    features: Mapping[str, tuple[str, ...]]
    texts: Mapping[str, Float[Tensor, "_ d"]]
    told: tuple[Spoken, ...]


def speech(context: Context) -> Speech:
    """Align every model with CLIP on the even pictures, once for all steps."""
    return context.once("speech", lambda: _speech(context))


def no_texts(context: Context) -> str:
    """There are texts to speak in."""
    return "" if context.options.speaker else "no CLIP was given (--clip names one)"


def few(context: Context) -> str:
    """There are pictures enough to learn maps from."""
    return "" if len(context.world) >= 40 else "maps into CLIP's space need 40 pictures"


def _speech(context: Context) -> Speech:
    space = _speaker(context)
    seen = space.encode_image(list(context.world.pictures)).cpu()
    about = FactorWords.of(space, seen, context.world.labels)
    features = {f: words for f, words in scene_features().items() if f in about.readers} or FEATURE_WORDS
    texts = {feature: space.encode_text(words).cpu() for feature, words in features.items()}
    place = {id(picture): i for i, picture in enumerate(context.world.pictures)}
    told = []
    for subject in context.subjects:
        own = seen[[place[id(picture)] for picture in subject.world.pictures]]
        told.append(_spoken(subject, own, texts, subject.name == space.spec))
    return Speech(space, about, features, texts, tuple(told))


def _speaker(context: Context) -> ClipSpace:
    """Return the model whose texts are used."""
    spec, random = str(context.options.speaker), context.options.random_weights
    same = [s.prepared.loaded for s in context.subjects if s.name == spec]
    return ClipSpace(same[0] if same else spec, device="cpu", pretrained=not random, cache=cache_directory() / "texts")


def _spoken(subject: Subject, seen: Tensor, texts: Mapping[str, Tensor], own: bool) -> Spoken:
    learned, (c, truth) = subject.part(0)[0], subject.part(1)
    aligner = None if own else ClosedForm(prior="own").fit(learned, seen[0::2])
    source: Source = learned if aligner is None else Aligned(learned, aligner)
    scorer = FeatureScorer(center="feature", bootstrap=0, shuffles=0).fit(source, texts)
    return Spoken(subject, learned, c, aligner, seen[1::2], truth, scorer)
