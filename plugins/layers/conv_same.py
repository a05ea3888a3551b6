"""Layer handler for timm's convolutions that pad like TensorFlow, depending on the size of the image."""

from collections.abc import Sequence

from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from ledger.hookspecs import LayerHandler, hookimpl

from .conv import Conv2dHandler
from .same_padding import same_padded


class Conv2dSameHandler(Conv2dHandler):
    """``timm.layers.Conv2dSame``: as ``nn.Conv2d``, with the extra padding right and below where the total is odd."""

    module_type = Conv2dSame

    @staticmethod
    def _padded(images: Tensor, conv: nn.Conv2d) -> Tensor:
        return same_padded(images, conv)


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer the handler for ``Conv2dSame``."""
    return (Conv2dSameHandler(),)
