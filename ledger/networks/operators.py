"""What a parameter is to an operator that also reads features: a weight, a scale or a bias."""

from enum import StrEnum

from torch import Tensor


class UseKind(StrEnum):
    """How an operator uses a parameter together with features."""

    PRODUCT = "product"
    """A matrix product, a convolution, or any operator that is not in the lists below."""
    TABLE = "elementwise product with a table"
    """Multiplies features by more than one value for each channel: a diagonal map, or a kernel in another basis."""
    SCAN = "scan"
    """Multiplies many times, or in an exponent: the weight of a recurrence."""
    SCALE = "scale"
    NORM = "normalisation"
    SHIFT = "bias or position"
    INPUT = "token"
    """Is itself the input of a layer."""


# Names of torch's operators, without their overloads.
MULTIPLY = {"mul", "mul_", "div", "div_", "addcmul", "addcmul_", "addcdiv", "addcdiv_", "lerp", "lerp_"}
ADD = {
    *("add", "add_", "sub", "sub_", "rsub", "cat", "stack", "where", "masked_fill", "masked_fill_", "copy_"),
    *("maximum", "minimum", "clamp", "clamp_", "clamp_min", "clamp_max", "index_put", "index_put_", "logaddexp"),
    *("eq", "ne", "lt", "le", "gt", "ge", "atan2", "slice_scatter", "select_scatter", "index_add", "scatter"),
}
NORMALISE = {
    *("native_layer_norm", "native_group_norm", "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"),
    *("_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "batch_norm_elemt", "_batch_norm_no_update"),
    *("_batch_norm_with_update", "_fused_rms_norm", "_prelu_kernel", "prelu", "linalg_vector_norm"),
}
LOOK_UP = {"embedding", "index", "index_select", "gather", "take", "grid_sampler_2d", "grid_sampler_3d"}
"""The first operand is a table; the second one is only an index into it."""
RESHAPE = {"view", "_unsafe_view", "expand", "detach", "alias", "_to_copy", "clone", "lift_fresh"}
ADDED_TO_A_PRODUCT = {"addmm", "addmv", "addbmm", "baddbmm", "addr"}
MATRIX_PRODUCT = {
    *("mm", "bmm", "mv", "dot", "addmm", "addmv", "addbmm", "baddbmm", "convolution", "conv_transpose2d"),
    *("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math", "_trilinear"),
    *("_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention"),
}
ACCUMULATE = {"exp", "exp_", "exp2", "cumsum", "cumprod", "logcumsumexp", "cumsum_", "cumprod_"}


def fills(tensor: Tensor, output: Tensor) -> bool:
    """Whether a tensor of several dimensions has the shape of the output, apart from leading batch dimensions."""
    shape = tensor.shape
    while shape and shape[0] == 1:
        shape = shape[1:]
    return len(shape) > 1 and output.shape[-len(shape) :] == shape


def kind_of_use(operator: str, argument: str, tensor: Tensor) -> UseKind:
    """Return how an operator uses a tensor of parameters.

    Args:
        operator: Name of the operator, which also reads features.
        argument: Name of the argument that the tensor is given for.
        tensor: The tensor, computed from parameters alone.
    """
    added = argument.endswith(("bias", "mask")) or (operator in ADDED_TO_A_PRODUCT and argument in {"self", "input"})
    # Recurrent layers' kernels take weights and biases alike.
    added |= tensor.ndim == 1 and ("rnn" in operator or "lstm" in operator or "gru" in operator)
    if added or operator in ADD or operator in LOOK_UP or operator in RESHAPE:
        return UseKind.SHIFT
    if operator in NORMALISE:
        return UseKind.NORM
    if operator in MULTIPLY or (operator in {"pow", "pow_"} and tensor.numel() == 1):
        wide = sum(size > 1 for size in tensor.shape) > 1 or tensor.is_complex()
        return UseKind.TABLE if wide else UseKind.SCALE
    return UseKind.PRODUCT
