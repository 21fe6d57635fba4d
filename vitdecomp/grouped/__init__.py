"""Images with classes and groups, as data sets for spurious cues come."""

from vitdecomp.grouped.formats import FORMATS, read
from vitdecomp.grouped.images import Grouped

__all__ = ["FORMATS", "Grouped", "read"]
