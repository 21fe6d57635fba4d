"""Contributions in words: CLIP's space, maps that take contributions into it, and the texts that span them."""

from typing import TYPE_CHECKING

from vitdecomp._utils.lazy import lazily

if TYPE_CHECKING:
    from vitdecomp_alignment.aligners.closed_form import ClosedForm
    from vitdecomp_alignment.aligners.compalign import CompAlign
    from vitdecomp_alignment.aligners.linear_align import LinearAlign
    from vitdecomp_alignment.aligners.maps import LinearMaps
    from vitdecomp_alignment.clip.maps import load_aligner
    from vitdecomp_alignment.clip.space import ClipSpace
    from vitdecomp_alignment.comp.comp import Comp
    from vitdecomp_alignment.readout.readout import Readout
    from vitdecomp_alignment.textspan.textspan import TextSpan
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "vitdecomp_alignment.clip.maps": ("load_aligner",),
            "vitdecomp_alignment.clip.space": ("ClipSpace",),
            "vitdecomp_alignment.aligners.closed_form": ("ClosedForm",),
            "vitdecomp_alignment.aligners.compalign": ("CompAlign",),
            "vitdecomp_alignment.aligners.linear_align": ("LinearAlign",),
            "vitdecomp_alignment.aligners.maps": ("LinearMaps",),
            "vitdecomp_alignment.comp.comp": ("Comp",),
            "vitdecomp_alignment.readout.readout": ("Readout",),
            "vitdecomp_alignment.textspan.textspan": ("TextSpan",),
        },
    )

__all__ = [
    "ClipSpace",
    "ClosedForm",
    "Comp",
    "CompAlign",
    "LinearAlign",
    "LinearMaps",
    "Readout",
    "TextSpan",
    "load_aligner",
]
