"""Bundles: which maps are computed together."""

from ledger.domain.linear_map import LinearMap
from ledger.networks.map_groups import WIDEST, bundled


def maps(parameter: str, count: int, *, width: int = 9, rows: int = 2) -> list[LinearMap]:
    return [
        LinearMap(f"{parameter}[{g}]", parameter, g * rows, (g + 1) * rows, width, grouped=True) for g in range(count)
    ]


def test_the_groups_of_a_parameter_are_one_bundle_and_a_single_map_is_its_own() -> None:
    groups, single = maps("a", 4), LinearMap("b", "b", 0, 3, 7)
    first, second = bundled([*groups, single])
    assert (first.key, first.maps, first.grouped) == ("a", tuple(groups), True)
    assert (first.start, first.stop, first.width, first.groups) == (0, 8, 9, 4)
    assert (second.key, second.maps, second.grouped) == ("b", (single,), False)


def test_wide_or_unlike_or_scattered_maps_are_not_bundled() -> None:
    assert len(bundled(maps("a", 2, width=WIDEST))) == 1
    for apart in (
        maps("a", 2, width=WIDEST + 1),
        [LinearMap("a[0]", "a", 0, 1, 4, grouped=True), LinearMap("a[1]", "a", 1, 3, 4, grouped=True)],
        [LinearMap("a[0]", "a", 0, 1, 4, grouped=True), LinearMap("a[1]", "a", 1, 2, 5, grouped=True)],
        [LinearMap("a[0]", "a", 0, 1, 4, grouped=True), LinearMap("a[1]", "a", 2, 3, 4, grouped=True)],
        [LinearMap("a[0]", "a", 0, 1, 4), LinearMap("a[1]", "a", 1, 2, 4)],
    ):
        assert [bundle.key for bundle in bundled(apart)] == ["a[0]", "a[1]"]


def test_maps_that_other_maps_stand_between_are_not_bundled() -> None:
    a, b = maps("a", 2), LinearMap("b", "b", 0, 1, 9)
    assert [bundle.key for bundle in bundled([a[0], b, a[1]])] == ["a[0]", "b", "a[1]"]
