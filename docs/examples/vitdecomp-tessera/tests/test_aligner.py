"""The aligner keeps its contract, and its maps come back from a file."""

import torch
from vitdecomp_tessera.aligner import Ridge

from vitdecomp.testing import AlignerContract


class TestRidge(AlignerContract):
    def make(self) -> Ridge:
        return Ridge()

    def test_maps_come_back_from_a_file(self, tmp_path) -> None:
        self.shared().save(tmp_path / "maps.safetensors")
        read = Ridge.load(tmp_path / "maps.safetensors")
        assert torch.equal(read.weights_, self.shared().weights_)
