"""Checksums of blocks see every bit of what is read, and nothing of what is not."""

import pytest
from made_up import flip

from vitdecomp.store.block_checksums import BLOCK, Blocks, block_checksums


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (3 * BLOCK // 256) + b"end")
    return path


@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, 3 * BLOCK + 2])
def test_a_flipped_bit_is_seen_by_who_reads_its_block(file, place):
    told = block_checksums(file)
    blocks = Blocks(told)
    assert len(blocks) == 4
    assert not blocks.differ(file, blocks.all)
    flip(file, place)
    fresh, block = Blocks(told), place // BLOCK
    others = [range(i * BLOCK, i * BLOCK + 1) for i in range(4) if i != block]
    assert not fresh.differ(file, *others, range(0))
    assert fresh.differ(file, range(place, place + 1))
    assert Blocks(told).differ(file, blocks.all)
    assert not blocks.differ(file, blocks.all)  # once is enough
    assert block_checksums(file) != told


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
def test_another_length_is_seen(file, change):
    told = block_checksums(file)
    file.write_bytes(change(file.read_bytes()))
    assert Blocks(told).differ(file, Blocks(told).all)


def test_what_lies_behind_the_last_block_is_no_part_of_the_file(file):
    assert Blocks(block_checksums(file)).differ(file, range(4 * BLOCK, 4 * BLOCK + 1))


@pytest.mark.parametrize("told", ["no base64!", "x", "\u00e9"])
def test_what_is_no_list_of_checksums_is_refused(told):
    with pytest.raises(ValueError, match=r"."):
        Blocks(told)
