"""Contributions in words: CLIP's space, maps that take contributions into it, and the texts that span them."""

from typing import TYPE_CHECKING

from vitdecomp.lazy import lazily

if TYPE_CHECKING:
    from vitdecomp_alignment.clip_space import ClipSpace
    from vitdecomp_alignment.closed_form import ClosedForm
    from vitdecomp_alignment.compalign import CompAlign
    from vitdecomp_alignment.linear_align import LinearAlign
    from vitdecomp_alignment.maps import LinearMaps
    from vitdecomp_alignment.textspan import TextSpan
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "vitdecomp_alignment.clip_space": ("ClipSpace",),
            "vitdecomp_alignment.closed_form": ("ClosedForm",),
            "vitdecomp_alignment.compalign": ("CompAlign",),
            "vitdecomp_alignment.linear_align": ("LinearAlign",),
            "vitdecomp_alignment.maps": ("LinearMaps",),
            "vitdecomp_alignment.textspan": ("TextSpan",),
        },
    )

__all__ = ["ClipSpace", "ClosedForm", "CompAlign", "LinearAlign", "LinearMaps", "TextSpan"]
