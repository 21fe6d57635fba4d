"""Images with classes and groups, as data sets for spurious cues come."""

from vitdecomp.datasets.grouped.formats import FORMATS, read
from vitdecomp.datasets.grouped.images import Grouped

__all__ = ["FORMATS", "Grouped", "read"]
