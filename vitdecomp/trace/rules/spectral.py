"""Fourier transforms and complex numbers: linear over the real numbers."""

from __future__ import annotations

from typing import Any

import torch
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
    """A Fourier transform."""
    return [data(x).then(op.target, *settings)]


@register_rule(
    aten.view_as_real, aten.view_as_complex, aten.view_as_real_copy, aten.view_as_complex_copy,
    aten.real, aten.imag, aten.conj, aten._conj, aten.conj_physical, aten._conj_physical,
)  # fmt: skip
def component(op: Op, x: fx.Node) -> list[Term]:
    """Pairs of real numbers to complex ones and back."""
    return [data(x).then(op.target)]


@register_rule(aten.complex)
def complex_(op: Op, real: fx.Node, imaginary: fx.Node) -> list[Term]:
    """real + i imaginary."""
    return [op.fit(data(real)).then(as_complex, 1), op.fit(data(imaginary)).then(as_complex, 1j)]


def as_complex(x: Tensor, unit: complex) -> Tensor:
    """x times 1 or i."""
    return torch.complex(x, torch.zeros_like(x)) * unit
