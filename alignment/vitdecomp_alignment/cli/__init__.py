"""The commands that this package adds to the command line; loading it registers them."""

from vitdecomp_alignment.cli.align.command import align
from vitdecomp_alignment.cli.app.command import app
from vitdecomp_alignment.cli.debias.command import debias
from vitdecomp_alignment.cli.describe.command import describe
from vitdecomp_alignment.cli.explain.command import explain
from vitdecomp_alignment.cli.latent.command import latent
from vitdecomp_alignment.cli.rank.command import rank
from vitdecomp_alignment.cli.search.command import search
from vitdecomp_alignment.cli.segment.command import segment

__all__ = ["align", "app", "debias", "describe", "explain", "latent", "rank", "search", "segment"]
