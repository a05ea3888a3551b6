"""What solvers share about one linear map, against the explicit products."""

import pytest
import torch
from torch import Tensor

from ledger.algebra import map_factors
from ledger.algebra.map_factors import MapFactors, shifted_cholesky


def factors_of(dtype: torch.dtype = torch.float64) -> MapFactors:
    weight, retain, forget = (torch.randn(shape, dtype=dtype) for shape in ((3, 7), (7, 4), (7, 2)))
    return MapFactors(weight, retain, forget)


def test_products_are_what_they_are_called() -> None:
    factors = factors_of()
    retain, forget = factors.retain, factors.forget
    torch.testing.assert_close(factors.weight_retain, factors.weight @ retain)
    torch.testing.assert_close(factors.weight_forget, factors.weight @ forget)
    torch.testing.assert_close(factors.retain_gram, retain.T @ retain)
    torch.testing.assert_close(factors.forget_gram, forget.T @ forget)
    torch.testing.assert_close(factors.cross, retain.T @ forget)


def test_what_is_solved_is_float64_and_products_keep_their_dtype() -> None:
    factors = factors_of(torch.float32)
    kept = (factors.weight_retain, factors.weight_forget, factors.retain_gram, factors.forget_gram)
    assert {product.dtype for product in kept} == {torch.float32}
    assert {factors.cross.dtype, factors.resolved_cross(3.0).dtype} == {torch.float64}
    assert shifted_cholesky(factors.retain_gram, 3.0).dtype == torch.float64


def test_a_product_is_formed_when_it_is_asked_for_and_then_kept() -> None:
    factors = factors_of()
    assert not any("gram" in name or "cross" in name for name in vars(factors))
    assert factors.retain_gram is factors.retain_gram
    assert "forget_gram" not in vars(factors)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3])
def test_the_resolved_cross_product_solves_its_equation(scale: float) -> None:
    factors = factors_of()
    shifted = scale * factors.retain.T @ factors.retain + torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(factors.resolved_cross(scale), torch.linalg.solve(shifted, factors.cross))


def test_one_factorisation_serves_all_that_follow_at_the_same_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    scales = []

    def watched(gram: Tensor, scale: float) -> Tensor:
        scales.append(scale)
        return shifted_cholesky(gram, scale)

    monkeypatch.setattr(map_factors, "shifted_cholesky", watched)
    factors = factors_of()
    first = factors.resolved_cross(3.0)
    assert factors.resolved_cross(3.0) is first
    factors.resolved_cross(9.0)
    torch.testing.assert_close(factors.resolved_cross(3.0), first, rtol=0, atol=0)
    assert scales == [3.0, 9.0, 3.0]


def test_the_shifted_factor_is_lower_triangular_and_leaves_its_argument() -> None:
    rows = torch.randn(3, 5, dtype=torch.float64)
    gram = rows.T @ rows
    before = gram.clone()
    factor = shifted_cholesky(gram, 10.0)
    torch.testing.assert_close(factor @ factor.T, 10.0 * gram + torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(factor, factor.tril(), rtol=0, atol=0)
    assert torch.equal(gram, before)
    # Scale 0 is the identity, and a space of rank 0 has no factor.
    torch.testing.assert_close(shifted_cholesky(gram, 0.0), torch.eye(5, dtype=torch.float64), rtol=0, atol=0)
    assert shifted_cholesky(gram[:0, :0], 10.0).shape == (0, 0)


def test_outputs_belong_to_no_class_unless_it_is_said() -> None:
    factors = factors_of()
    assert factors.own_outputs is None
    assert MapFactors(factors.weight, factors.retain, factors.forget, (0, 2)).own_outputs == (0, 2)
