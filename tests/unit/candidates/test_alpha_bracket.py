"""The bracket finds where trials begin to pass, wherever it starts, and tries no position twice."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.candidates.alpha_bracket import AlphaBracket


def run(bracket: AlphaBracket, passes: Callable[[int], bool]) -> list[int]:
    """Try positions until the bracket is closed; return them in order."""
    tried = []
    while (position := bracket.position) is not None:
        tried.append(position)
        if passes(position):
            bracket.passed()
        else:
            bracket.failed()
    return tried


@st.composite
def grids(draw: st.DrawFn) -> tuple[int, int, int]:
    """Draw a size, a start, and the first passing position, which is the size where none passes."""
    size = draw(st.integers(1, 40))
    return size, draw(st.integers(0, size - 1)), draw(st.integers(0, size))


@given(grids())
def test_the_first_passing_position_is_found(grid: tuple[int, int, int]) -> None:
    size, start, first = grid
    bracket = AlphaBracket(size, start)
    tried = run(bracket, lambda position: position >= first)
    assert bracket.first_passing == first
    assert bracket.any_passed == (first < size)
    assert bracket.position is None
    assert tried[0] == start
    assert len(tried) == len(set(tried))
    assert all(0 <= position < size for position in tried)


@given(grids())
def test_both_sides_of_the_answer_were_tried(grid: tuple[int, int, int]) -> None:
    size, start, first = grid
    tried = run(AlphaBracket(size, start), lambda position: position >= first)
    assert first == size or first in tried
    assert first == 0 or first - 1 in tried


@given(grids())
def test_trials_grow_with_half_the_distance_from_the_start(grid: tuple[int, int, int]) -> None:
    size, start, first = grid
    tried = run(AlphaBracket(size, start), lambda position: position >= first)
    # The start, one step, then two at a time until the result changes, and one back.
    assert len(tried) <= (abs(first - start) + 1) // 2 + 3


@given(grids(), st.data())
def test_whatever_the_trials_say_the_bracket_closes(grid: tuple[int, int, int], data: st.DataObject) -> None:
    size, start, _ = grid
    said: dict[int, bool] = {}
    bracket = AlphaBracket(size, start)
    tried = run(bracket, lambda position: said.setdefault(position, data.draw(st.booleans())))
    assert len(tried) <= size
    # What is returned was seen to pass, and the one below was seen to fail.
    assert bracket.first_passing == size or said[bracket.first_passing]
    assert bracket.first_passing == 0 or not said[bracket.first_passing - 1]


@pytest.mark.parametrize(
    ("start", "first", "tried"),
    [
        (0, 0, [0]),
        (3, 3, [3, 2]),
        (3, 4, [3, 4]),
        (3, 5, [3, 4, 6, 5]),
        (3, 7, [3, 4, 6, 8, 7]),
        (5, 1, [5, 4, 2, 0, 1]),
        (8, 10, [8, 9]),
        (6, 0, [6, 5, 3, 1, 0]),
    ],
)
def test_one_step_then_two_at_a_time_then_back(start: int, first: int, tried: list[int]) -> None:
    bracket = AlphaBracket(10, start)
    assert run(bracket, lambda position: position >= first) == tried
    assert bracket.first_passing == first
