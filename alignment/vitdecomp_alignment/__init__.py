"""Contributions in words: CLIP's space, maps that take contributions into it, and the texts that span them."""

from vitdecomp_alignment.clip_space import ClipSpace
from vitdecomp_alignment.closed_form import ClosedForm
from vitdecomp_alignment.compalign import CompAlign
from vitdecomp_alignment.linear_align import LinearAlign
from vitdecomp_alignment.maps import LinearMaps
from vitdecomp_alignment.textspan import TextSpan

__all__ = ["ClipSpace", "ClosedForm", "CompAlign", "LinearAlign", "LinearMaps", "TextSpan"]
