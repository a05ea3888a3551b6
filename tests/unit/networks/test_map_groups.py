"""Map groups: which maps are computed together."""

from ledger.domain.linear_map import LinearMap
from ledger.networks.map_groups import LARGEST_GROUPED_WIDTH, group_maps


def maps(parameter: str, count: int, *, width: int = 9, rows: int = 2) -> list[LinearMap]:
    return [
        LinearMap(f"{parameter}[{g}]", parameter, g * rows, (g + 1) * rows, width, grouped=True) for g in range(count)
    ]


def test_the_groups_of_a_parameter_are_one_bundle_and_a_single_map_is_its_own() -> None:
    groups, single = maps("a", 4), LinearMap("b", "b", 0, 3, 7)
    first, second = group_maps([*groups, single])
    assert (first.key, first.maps, first.stacked) == ("a", tuple(groups), True)
    assert (first.start, first.stop, first.width, first.size) == (0, 8, 9, 4)
    assert (second.key, second.maps, second.stacked) == ("b", (single,), False)


def test_wide_or_unlike_or_scattered_maps_are_not_bundled() -> None:
    assert len(group_maps(maps("a", 2, width=LARGEST_GROUPED_WIDTH))) == 1
    for apart in (
        maps("a", 2, width=LARGEST_GROUPED_WIDTH + 1),
        [LinearMap("a[0]", "a", 0, 1, 4, grouped=True), LinearMap("a[1]", "a", 1, 3, 4, grouped=True)],
        [LinearMap("a[0]", "a", 0, 1, 4, grouped=True), LinearMap("a[1]", "a", 1, 2, 5, grouped=True)],
        [LinearMap("a[0]", "a", 0, 1, 4, grouped=True), LinearMap("a[1]", "a", 2, 3, 4, grouped=True)],
        [LinearMap("a[0]", "a", 0, 1, 4), LinearMap("a[1]", "a", 1, 2, 4)],
    ):
        assert [group.key for group in group_maps(apart)] == ["a[0]", "a[1]"]


def test_maps_that_other_maps_stand_between_are_not_bundled() -> None:
    a, b = maps("a", 2), LinearMap("b", "b", 0, 1, 9)
    assert [group.key for group in group_maps([a[0], b, a[1]])] == ["a[0]", "b", "a[1]"]
