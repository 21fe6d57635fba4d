"""How the values of a scene depend on one another: correlations, and subsets with groups or words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vitdecomp.errors import SpecError
from vitdecomp.scenes.dice import Dice
from vitdecomp.scenes.factors import FACTORS, SPLITS, known, probability

Shares = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Correlation:
    """With a probability, value i of the first factor brings value i (modulo their number) of the second.

    Raises:
        SpecError: no such factor, twice the same, or no probability.
    """

    first: str
    second: str
    probability: float

    def __post_init__(self) -> None:
        for name in (self.first, self.second):
            known("factor", name, FACTORS)
        if self.first == self.second:
            raise SpecError(f"factor {self.first!r} cannot be correlated with itself")
        probability("the correlation's probability", self.probability)


@dataclass(frozen=True, slots=True)
class Grouping:
    """Two classes of one factor's values, and two sides of another's that go with them more or less.

    Args:
        factor: which the class is a property of.
        classes: their names, and the values of each.
        beside: the factor that goes with the class.
        sides: the two sides of its values.
        shares: for each split, the probability of each group, that is of 2 * class + side.
    """

    factor: str
    classes: Mapping[str, tuple[str, ...]]
    beside: str
    sides: Mapping[str, tuple[str, ...]]
    shares: Mapping[str, Shares]

    def draw(self, values: dict[str, str], split: str, dice: Dice) -> int:
        """Draw a group, and values that belong to it."""
        point, group = dice.uniform(), 0
        for share in self.shares[split][:3]:
            point -= share
            group += point >= 0
            if point < 0:
                break
        values[self.factor] = dice.pick(list(self.classes.values())[group // 2])
        values[self.beside] = dice.pick(list(self.sides.values())[group % 2])
        return group


@dataclass(frozen=True, slots=True)
class Subset:
    """A kind of data set: its groups, if any, and whether every picture has a word for a wrong shape."""

    grouping: Grouping | None = None
    words: bool = False


EVEN: Shares = (0.25, 0.25, 0.25, 0.25)

SUBSETS: Mapping[str, Subset] = MappingProxyType(
    {
        "plain": Subset(),
        # After Waterbirds (Sagawa et al., 2020): the place goes with the class in 95 % of the training images.
        "waterbirds": Subset(
            Grouping(
                factor="shape",
                classes={
                    "pointed": ("square", "triangle", "star", "cross", "arrow"),
                    "rounded": ("circle", "ring", "heart", "moon", "hexagon"),
                },
                beside="location",
                sides={"land": ("forest", "sand", "brick", "meadow"), "water": ("water", "snow", "night sky")},
                shares={"train": (0.475, 0.025, 0.025, 0.475), "val": EVEN, "test": EVEN},
            )
        ),
        # After CelebA's blond hair (Sagawa et al., 2020): shares of the four groups as there.
        "celeba": Subset(
            Grouping(
                factor="pattern",
                classes={"unlined": ("plain", "spotted"), "lined": ("striped", "checkered")},
                beside="colour",
                sides={"warm": ("red", "orange", "yellow", "pink"), "cool": ("green", "cyan", "blue", "purple")},
                shares={"train": (0.44, 0.41, 0.14, 0.01), "val": EVEN, "test": EVEN},
            )
        ),
        # After the typographic attacks on CLIP (Goh et al., 2021).
        "typographic": Subset(words=True),
    }
)


@dataclass(frozen=True, slots=True)
class Spec:
    """All that decides, together with an index, what a picture shows.

    Raises:
        SpecError: an unknown name, a number outside its range, or a correlation that works against the groups.
    """

    seed: int = 0
    split: str = "train"
    subset: str = "plain"
    correlate: tuple[Correlation, ...] = ()
    word_probability: float = 0.0
    word_truth: float = 0.2

    def __post_init__(self) -> None:
        known("split", self.split, SPLITS)
        known("subset", self.subset, SUBSETS)
        probability("word_probability", self.word_probability)
        probability("word_truth", self.word_truth)
        if self.seed < 0:
            raise SpecError(f"the seed must not be negative, not {self.seed}")
        if len(self.correlate) > 12:
            raise SpecError(f"at most 12 correlations, not {len(self.correlate)}")
        grouping = self.grouping
        for tie in self.correlate:
            if grouping is not None and tie.second in (grouping.factor, grouping.beside):
                raise SpecError(f"the groups of {self.subset} decide {tie.second}; correlate another factor")

    @property
    def grouping(self) -> Grouping | None:
        """The groups of the subset."""
        return SUBSETS[self.subset].grouping

    def draw(self, factors: Dice, coins: Dice) -> tuple[dict[str, str], int | None]:
        """Draw the value of every factor, and the group."""
        values = {name: factors.pick(choices) for name, choices in FACTORS.items()}
        group = self.grouping.draw(values, self.split, factors) if self.grouping else None
        for tie in self.correlate:
            if coins.chance(tie.probability):
                choices = FACTORS[tie.second]
                number = FACTORS[tie.first].index(values[tie.first])
                values[tie.second] = choices[number % len(choices)]
        return values, group
