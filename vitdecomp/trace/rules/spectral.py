"""Fourier transforms and complex numbers: linear over the real numbers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from vitdecomp.trace.rule import Op, Term, data, register_rule

aten = torch.ops.aten


@register_rule(
    aten.fft_fft, aten.fft_ifft, aten.fft_rfft, aten.fft_irfft, aten.fft_hfft, aten.fft_ihfft,
    aten.fft_fft2, aten.fft_ifft2, aten.fft_rfft2, aten.fft_irfft2, aten.fft_fftn, aten.fft_ifftn,
    aten.fft_rfftn, aten.fft_irfftn, aten.fft_fftshift, aten.fft_ifftshift, aten._fft_r2c,
    aten._fft_c2r, aten._fft_c2c,
)  # fmt: skip
def transform(op: Op, x: fx.Node, *settings: Any) -> list[Term]:
    """Take a Fourier transform."""
    return [data(x).then(op.target, *settings)]


@register_rule(aten.view_as_real, aten.view_as_real_copy)
def parts(op: Op, z: fx.Node) -> list[Term]:
    """View complex numbers as pairs of real ones."""
    return [data(z).then(torch.view_as_real)]


@register_rule(aten.view_as_complex, aten.view_as_complex_copy)
def whole(op: Op, pairs: fx.Node) -> list[Term]:
    """View pairs of real numbers as complex ones."""
    return [data(pairs).then(torch.Tensor.contiguous).then(torch.view_as_complex)]


@register_rule(aten.real, aten.imag)
def part(op: Op, z: fx.Node) -> list[Term]:
    """Take the real or imaginary part."""
    return [data(z).then(torch.view_as_real).then(torch.select, -1, int(op.target.overloadpacket is aten.imag))]


@register_rule(aten.complex)
def compose(op: Op, real: fx.Node, imaginary: fx.Node) -> list[Term]:
    """real + i imaginary."""
    return [op.fit(data(x)).then(as_part, i) for i, x in enumerate((real, imaginary))]


def as_part(x: Tensor, i: int) -> Tensor:
    """Make complex numbers of which x is the real (0) or imaginary (1) part and the other part is zero."""
    return torch.view_as_complex(F.pad(x[..., None], (i, 1 - i)))


@register_rule(aten.conj, aten._conj, aten.conj_physical, aten._conj_physical)
def conj(op: Op, z: fx.Node) -> list[Term]:
    """Take the complex conjugate."""
    return [data(z).then(conjugate)]


def conjugate(z: Tensor) -> Tensor:
    """Compute the complex conjugate, without the lazy conjugate bit that other operations refuse."""
    if not z.is_complex():
        return z
    signs = torch.tensor([1, -1], dtype=z.real.dtype, device=z.device)
    return torch.view_as_complex(torch.view_as_real(z) * signs)
