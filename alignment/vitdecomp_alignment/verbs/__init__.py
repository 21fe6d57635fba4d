"""The verbs that this package adds to the command line, one in a file; loading it registers them."""

from vitdecomp_alignment.verbs.align import align
from vitdecomp_alignment.verbs.debias import debias
from vitdecomp_alignment.verbs.describe import describe
from vitdecomp_alignment.verbs.rank import rank
from vitdecomp_alignment.verbs.search import search

__all__ = ["align", "debias", "describe", "rank", "search"]
