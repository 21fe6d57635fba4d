"""Extraction of the contributions of a data set of images to a store: `vitdecomp extract`."""

from vitdecomp.extract.config import REPRESENTATION, ExtractConfig, ExtractResult, parse_by
from vitdecomp.extract.entry import cached, extract

__all__ = ["REPRESENTATION", "ExtractConfig", "ExtractResult", "cached", "extract", "parse_by"]
