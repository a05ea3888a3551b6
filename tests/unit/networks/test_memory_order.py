"""How a tensor lies in memory can be told, and given to another one of the same meaning."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ledger.networks.layouts import laid_out, memory_order


@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    order=st.permutations(range(4)),
    other=st.permutations(range(4)),
    images=st.integers(1, 5),
)
def test_a_copy_lies_like_the_example_however_its_own_values_lay(
    sizes: list[int], order: list[int], other: list[int], images: int
) -> None:
    order, other = ([d for d in one if d < len(sizes)] for one in (order, other))
    inverse = [order.index(d) for d in range(len(order))]
    example = torch.arange(float(torch.Size(sizes).numel())).reshape([sizes[d] for d in order]).permute(inverse)
    of_example = memory_order(example)
    assert laid_out(example, of_example).is_contiguous() == example.is_contiguous() or 1 in sizes
    if 1 not in sizes:
        assert of_example == tuple(order)
        assert laid_out(example, of_example).stride() == example.stride()
    # Other images, lying otherwise: the same strides come of all of them.
    shape = [images, *sizes[1:]]
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    moved = values.permute(other).contiguous().permute([other.index(d) for d in range(len(other))])
    parts = torch.cat([one[None] for one in moved])
    found = [laid_out(one, of_example) for one in (values, moved, parts)]
    assert all(torch.equal(one, values) for one in found)
    assert len({one.stride() for one in found}) == 1
    assert found[0].data_ptr() != values.data_ptr()


def test_a_map_of_one_pixel_that_lies_channels_last_does_so_again() -> None:
    last = torch.randn(2, 5, 1, 1).contiguous(memory_format=torch.channels_last)
    strided = torch.empty_strided((2, 5, 1, 1), (5, 1, 5, 5)).copy_(last)
    for one in (last, strided):
        assert laid_out(torch.cat([one, one]), memory_order(one)).is_contiguous(memory_format=torch.channels_last)
