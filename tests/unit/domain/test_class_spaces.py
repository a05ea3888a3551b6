"""Error bounds that say something, and those that do not."""

from ledger.domain.class_spaces import NO_BOUND, largest_error


def test_a_bound_that_says_nothing_hides_no_other() -> None:
    assert largest_error([1e-4, NO_BOUND, 3e-4, NO_BOUND]) == (3e-4, 2)
    assert largest_error([1e-4]) == (1e-4, 0)
    assert largest_error([NO_BOUND]) == (None, 1)
    assert largest_error([]) == (None, 0)
