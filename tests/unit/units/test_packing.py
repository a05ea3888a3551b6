"""Images come out of a unit bit for bit as they went in, and lie in memory as they did."""

import pytest
import torch
from torch import Tensor

from ledger.domain.settings import Preprocessing
from ledger.images.loading import normalised
from ledger.units.packing import PackedImages

PREPROCESSING = Preprocessing(3, 5, 4, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def bytes_of_images(images: int) -> Tensor:
    return torch.randint(0, 256, (images, 3, 5, 4), dtype=torch.uint8).float() / 255


@pytest.mark.parametrize("lying", [torch.contiguous_format, torch.channels_last])
def test_pixels_of_files_take_a_byte_each(lying: torch.memory_format) -> None:
    batches = [bytes_of_images(n).to(memory_format=lying) for n in (7, 2)]
    packed = PackedImages.of(batches)
    assert len(packed.data) == 9 * 60
    for found, batch in zip(packed.batches(PREPROCESSING), batches, strict=True):
        expected = normalised(batch, PREPROCESSING)
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()


def test_other_pixels_lose_nothing() -> None:
    batch = torch.rand(3, 3, 5, 4)
    packed = PackedImages.of([batch])
    assert len(packed.data) == 4 * batch.numel()
    assert torch.equal(next(packed.batches(PREPROCESSING)), normalised(batch, PREPROCESSING))


def test_preprocessed_images_come_back_whether_their_pixels_can_be_told_or_not() -> None:
    told, untold = normalised(bytes_of_images(4), PREPROCESSING), torch.randn(4, 3, 5, 4)
    packed = PackedImages.of_preprocessed([told, untold], PREPROCESSING)
    assert len(packed.data) == 5 * told.numel()
    assert all(map(torch.equal, packed.batches(PREPROCESSING), [told, untold]))


def test_the_digest_is_that_of_pixels_and_of_how_they_lie() -> None:
    batch = bytes_of_images(2)
    other = batch.clone()
    other[0, 0, 0, 0] = 1 - other[0, 0, 0, 0]
    found = {PackedImages.of([one]).digest for one in (batch, batch.clone(), other)}
    assert len(found) == 2
    lying = PackedImages.of([batch.to(memory_format=torch.channels_last)]).digest
    halves = PackedImages.of(torch.split(batch, 1)).digest
    assert len({*found, lying, halves}) == 4
