"""Few images of a class show little, and a person is told how little."""

from ledger.domain.labels import LabelMap
from ledger.service.few_images import FEW, measurement_note, registration_notes

LABELS = LabelMap(("ann", "bob", "eve"))


def split(*counts: int) -> list[int]:
    return [k for k, count in enumerate(counts) for _ in range(count)]


def test_with_enough_images_nothing_is_said() -> None:
    assert list(registration_notes(LABELS, split(FEW, FEW, 900), split(FEW, 60, 60))) == []
    assert measurement_note(LABELS, split(FEW, FEW, FEW), {0, 1}) is None


def test_each_split_with_few_images_is_named_with_what_it_may_hide() -> None:
    train, test = registration_notes(LABELS, split(7, 40, 8), split(3, 3, 4))
    assert train == (
        "2 of 3 classes have fewer than 30 training images, the fewest 7: even if none of 7 is recognised, up to 35% "
        "of a class may be (95% confidence)"
    )
    assert "3 of 3 classes have fewer than 30 test images, the fewest 3" in test
    assert "up to 63% of a class" in test


def test_a_single_training_image_is_judge_in_its_own_case() -> None:
    *_, last = registration_notes(LABELS, split(1, 1, 100), split(50, 50, 50))
    assert last.startswith("2 of 3 classes have a single training image: edits are computed from the very image")
    assert not any("single" in note for note in registration_notes(LABELS, split(2, 2, 2), split(50, 50, 50)))


def test_only_forgotten_classes_with_few_test_images_are_named_the_fewest_first() -> None:
    note = measurement_note(LABELS, split(5, 1, 3), {0, 2})
    assert note is not None
    assert note.startswith("test images: eve 3, ann 5; even if none of 3 is recognised")
    assert measurement_note(LABELS, split(5, 100, 3), {1}) is None
    assert measurement_note(LABELS, split(0, 100, 3), {0}) is None


def test_of_many_classes_three_are_named() -> None:
    labels = LabelMap(tuple(f"person {k}" for k in range(1200)))
    note = measurement_note(labels, range(1200), range(1100))
    assert note is not None
    assert "person 2 1 and 1,097 more classes have few" in note
