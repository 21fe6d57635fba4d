import torch

from vitdecomp.testing import Case, Data, RuleContract

aten = torch.ops.aten
X, Z = Data(4, 6), Data(4, 6, dtype=torch.complex128)
FILTER = torch.randn(4, 6, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))


class TestSpectral(RuleContract):
    cases = (
        Case(aten.fft_fft.default, X),
        Case(aten.fft_fft.default, Z, None, 1, "ortho"),
        Case(aten.fft_ifft.default, Z, 4),
        Case(aten.fft_rfft.default, X, None, 1),
        Case(aten.fft_irfft.default, Z, 7),
        Case(aten.fft_hfft.default, Z),
        Case(aten.fft_ihfft.default, X),
        Case(aten.fft_fft2.default, X),
        Case(aten.fft_ifft2.default, Z, None, [1, 2], "forward"),
        Case(aten.fft_rfft2.default, X, None, [-2, -1], "ortho"),
        Case(aten.fft_irfft2.default, Z, [4, 6]),
        Case(aten.fft_fftn.default, X, None, [1, 2]),
        Case(aten.fft_ifftn.default, Z, None, [1, 2]),
        Case(aten.fft_rfftn.default, X, None, [1]),
        Case(aten.fft_irfftn.default, Z, None, [2]),
        Case(aten.fft_fftshift.default, X, [1, 2]),
        Case(aten.fft_ifftshift.default, X, [1]),
        Case(aten._fft_r2c.default, X, [2], 0, True),
        Case(aten._fft_c2r.default, Z, [2], 2, 10),
        Case(aten._fft_c2c.default, Z, [1], 1, True),
        Case(aten.view_as_real.default, Z),
        Case(aten.view_as_real_copy.default, Z),
        Case(aten.view_as_complex.default, Data(4, 2)),
        Case(aten.view_as_complex_copy.default, Data(4, 2), formula=torch.view_as_complex),
        Case(aten.real.default, Z),
        Case(aten.imag.default, Z),
        Case(aten.conj.default, Z),
        Case(aten._conj.default, Z),
        Case(aten.conj_physical.default, Z),
        Case(aten._conj_physical.default, Z),
        Case(aten.complex.default, X, Data(4, 6)),
        Case(aten.mul.Tensor, Z, FILTER),
        Case(aten.mul.Tensor, Z, Data(1, 6, dtype=torch.complex128), formula=lambda a, b: a * b.detach()),
        Case(aten.add.Tensor, Z, X),
    )
