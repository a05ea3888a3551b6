"""Feature vectors and tokens as input rows: shared by all handlers of products over the last axis."""

from torch import Tensor

from ledger.hookspecs import RowSampler


def token_rows(features: Tensor, key: str, sampler: RowSampler) -> Tensor:
    """Return feature vectors (n, i) as they are; of a sequence (n, ..., i), the sampled tokens (n * p, i).

    Args:
        features: What a layer multiplies along its last axis; the first axis is the images.
        key: Key of the map, which names the random stream of its positions.
        sampler: Chooses positions.
    """
    if features.ndim <= 2:
        return features.reshape(-1, features.shape[-1])
    tokens = features.flatten(1, -2)
    positions = sampler.positions(key, tokens.shape[0], tokens.shape[1])
    if positions is not None:
        index = positions.to(tokens.device).unsqueeze(-1).expand(-1, -1, tokens.shape[2])
        tokens = tokens.gather(1, index)
    return tokens.flatten(0, 1)
