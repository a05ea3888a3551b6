"""How people name classes: exactly, or not at all."""

import unicodedata
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.domain.labels import LabelMap
from ledger.errors import AmbiguousClassError, UnknownClassError

ANIMALS = LabelMap(("cat", "dog", "horse"))


@pytest.mark.parametrize(
    ("text", "index"),
    [("cat", 0), ("dog", 1), ("2", 2), ("name:cat", 0), ("index:1", 1), ("00", 0), ("index:002", 2)],
)
def test_a_label_an_index_and_both_prefixes_name_a_class(text: str, index: int) -> None:
    assert ANIMALS.resolve(text) == index


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "cat ", " cat", "Cat", "CAT", "cats", "3", "-1", "+1", "1.0", "1_0", "0x1", "٢", "²", "name:",
        "name:1", "index:", "index:cat", "index:3", "index:-1", "index: 1", "name:name:cat", "index:name:cat",
        "name:index:1", "INDEX:1", "cat,dog", "cat\n", "1\n", "\x00",
        pytest.param("9" * 5000, id="5000 digits"), pytest.param("index:" + "0" * 5000, id="5000 zeros"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UnknownClassError) as caught:
        ANIMALS.resolve(text)
    assert caught.value.exit_code == 2
    assert repr(text)[:100] in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("text", ["caat", "Dog", "horses", "dgo", "HORSE"])
def test_a_near_miss_is_refused_with_a_suggestion_and_never_corrected(text: str) -> None:
    with pytest.raises(UnknownClassError, match="no class is called") as caught:
        ANIMALS.resolve(text)
    assert caught.value.hint.startswith("did you mean '")


def test_a_suggestion_shows_the_label_as_it_is_written() -> None:
    with pytest.raises(UnknownClassError) as caught:
        LabelMap(("Größe", "dog")).resolve("grösse")
    assert caught.value.hint == "did you mean 'Größe'?"


def test_a_far_miss_lists_the_classes() -> None:
    with pytest.raises(UnknownClassError) as caught:
        ANIMALS.resolve("zzz")
    assert caught.value.hint == "classes: cat, dog, horse (or an index from 0 to 2)"
    with pytest.raises(UnknownClassError) as caught:
        LabelMap(tuple(f"label{k}" for k in range(12))).resolve("zzz")
    assert caught.value.hint.endswith("label9, ... (or an index from 0 to 11)")
    assert "label10" not in caught.value.hint


DIGITS = LabelMap(("1", "0", "2", "seven"))


def test_a_label_that_is_another_class_index_is_a_label() -> None:
    assert DIGITS.resolve("1") == 0
    assert DIGITS.ambiguity("1") == "class 1 (index 0)"
    assert DIGITS.ambiguity("seven") == ""
    assert DIGITS.resolve("name:1") == 0
    assert DIGITS.resolve("index:1") == 1


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (("0", "10", "2", "9"), "1"),
        (("01", "02", "03"), "1"),
        (("1.5", "2.5"), "1"),
        (("-1", "cat"), "0"),
        (("\u0661", "\u0662"), "1"),
        (("7", "cat", "dog"), "2"),
    ],
)
def test_where_a_label_is_a_number_a_bare_number_is_no_index(labels: tuple[str, ...], text: str) -> None:
    with pytest.raises(UnknownClassError) as caught:
        LabelMap(labels).resolve(text)
    assert f"--index {text} for {labels[int(text)]!r}" in caught.value.hint
    assert LabelMap(labels).resolve(f"index:{text}") == int(text)


def test_where_no_label_is_a_number_a_number_is_an_index_and_said_to_be() -> None:
    assert ANIMALS.resolve("2") == 2
    assert ANIMALS.ambiguity("2") == ANIMALS.ambiguity("index:2") == "class horse (index 2)"


def test_a_label_that_is_its_own_index_is_not_ambiguous() -> None:
    assert DIGITS.resolve("2") == 2
    assert LabelMap(tuple(map(str, range(10)))).resolve("7") == 7


def test_a_label_that_looks_like_a_prefix_can_still_be_named() -> None:
    odd = LabelMap(("index:1", "name:dog", "plain"))
    assert odd.resolve("name:index:1") == 0
    assert odd.resolve("name:name:dog") == 1
    assert odd.resolve("index:1") == 1
    with pytest.raises(UnknownClassError):
        odd.resolve("name:dog")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_composed_and_decomposed_letters_are_the_same_label(form: Literal["NFC", "NFD"]) -> None:
    stored = LabelMap((unicodedata.normalize("NFD", "Zoë"), "other"))
    assert stored.labels[0] == "Zoë"
    assert stored.resolve(unicodedata.normalize(form, "Zoë")) == 0


def test_letters_that_merely_look_alike_are_different_labels() -> None:
    # Compatibility forms (a full-width letter, a ligature) and Cyrillic are other labels.
    labels = LabelMap(("fi", "ﬁ", "a", "ａ", "а"))
    assert [labels.resolve(label) for label in labels.labels] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("labels", [("cat", "dog", "cat"), ("Zoë", unicodedata.normalize("NFD", "Zoë"))])
def test_a_label_map_that_repeats_a_label_is_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(AmbiguousClassError, match="more than once"):
        LabelMap(labels)


def test_several_names_resolve_to_a_set() -> None:
    assert ANIMALS.resolve_all(["dog", "1", "name:cat"]) == {0, 1}
    assert ANIMALS.resolve_all([]) == frozenset()
    with pytest.raises(UnknownClassError):
        ANIMALS.resolve_all(["dog", "cow"])


def test_names_come_back_in_class_order() -> None:
    assert ANIMALS.names({2, 0}) == ("cat", "horse")
    assert ANIMALS.names([]) == ()
    assert (len(ANIMALS), ANIMALS[1]) == (3, "dog")


LABELS = st.lists(st.text(max_size=6), min_size=1, max_size=8, unique_by=lambda t: unicodedata.normalize("NFC", t))


@given(labels=LABELS)
def test_every_label_and_index_can_be_named_with_its_prefix(labels: list[str]) -> None:
    label_map = LabelMap(tuple(labels))
    for index, label in enumerate(labels):
        assert label_map.resolve(f"name:{label}") == index
        assert label_map.resolve(f"index:{index}") == index


@given(labels=LABELS, text=st.one_of(st.text(max_size=12), st.from_regex(r"(name:|index:)?[0-9]{1,3}", fullmatch=True)))
def test_what_resolves_was_named_exactly_and_everything_else_is_our_error(labels: list[str], text: str) -> None:
    label_map = LabelMap(tuple(labels))
    try:
        index = label_map.resolve(text)
    except (UnknownClassError, AmbiguousClassError):
        return
    bare = unicodedata.normalize("NFC", text).removeprefix("name:").removeprefix("index:")
    exact = bare == label_map[index] or unicodedata.normalize("NFC", text) == f"name:{label_map[index]}"
    assert exact or (bare.isascii() and bare.isdigit() and int(bare) == index)


@given(text=st.text(min_size=1, max_size=12))
def test_a_label_is_found_in_any_normal_form(text: str) -> None:
    assume(not text.startswith(("name:", "index:")))
    label_map = LabelMap((text, text + "x"))
    for form in ("NFC", "NFD"):
        try:
            assert label_map.resolve(unicodedata.normalize(form, text)) == 0
        except AmbiguousClassError:
            assert text == "1"
