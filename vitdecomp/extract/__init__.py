"""Contributions of a data set of pictures, computed and written to a store: `vitdecomp extract`."""

from vitdecomp.extract.entry import cached, extract
from vitdecomp.extract.job import REPRESENTATION, Extracted, Extraction, parse_by

__all__ = ["REPRESENTATION", "Extracted", "Extraction", "cached", "extract", "parse_by"]
