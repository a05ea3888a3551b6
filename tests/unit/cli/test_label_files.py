"""Files of labels: whatever they hold, the answer is an order or an error of ours."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import UsageError
from ledger.service.models.label_files import read_labels

NAME = st.text(min_size=1, max_size=8).map(str.strip).filter(lambda name: name and name.isprintable())
SCALAR = st.none() | st.booleans() | st.integers(-3, 5) | st.floats() | st.text(max_size=6)
ANY = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=4) | st.sampled_from(["id2label", "label2id", "class_to_idx", "label_names", "0", "1"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@given(labels=st.lists(NAME, min_size=1, max_size=6, unique=True))
@SHARED
def test_an_order_is_read_back_from_each_form(tmp_path: Path, labels: Sequence[str]) -> None:
    forms = (
        labels,
        {"label_names": labels},
        {"class_to_idx": {label: k for k, label in enumerate(labels)}},
        {"id2label": dict(enumerate(labels))},
        {"config": {"label2id": {label: k for k, label in enumerate(labels)}}},
    )
    for form in forms:
        (tmp_path / "labels").write_text(json.dumps(form))
        assert read_labels(tmp_path / "labels") == tuple(labels)


@given(value=ANY)
@SHARED
def test_any_json_is_an_order_or_our_error(tmp_path: Path, value: object) -> None:
    (tmp_path / "labels").write_text(json.dumps(value))
    try:
        found = read_labels(tmp_path / "labels")
    except UsageError:
        return
    assert found
    assert all(label and label == label.strip() for label in found)


@given(data=st.binary(max_size=40))
@SHARED
def test_any_bytes_are_an_order_or_our_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "labels").write_bytes(data)
    with suppress(UsageError):
        assert read_labels(tmp_path / "labels")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('{"0": "10", "1": "2"}', ("10", "2")),
        ('{"10": 0, "2": 1}', ("10", "2")),
        ("[1, 10, 2]", ("1", "10", "2")),
        ('{"b": "0", "a": "1"}', ("b", "a")),
        ('{"1": "b", "0": "a", "10": "k"}', None),
        ('{"classes": {"a": 0, "b": 1}}', ("a", "b")),
        ('{"names": {"0": "a", "1": "b"}}', ("a", "b")),
    ],
)
def test_numbers_are_names_or_indices_by_where_they_stand(
    tmp_path: Path, text: str, labels: tuple[str, ...] | None
) -> None:
    (tmp_path / "labels").write_text(text)
    if labels is None:
        with pytest.raises(UsageError, match="is missing"):
            read_labels(tmp_path / "labels")
    else:
        assert read_labels(tmp_path / "labels") == labels
