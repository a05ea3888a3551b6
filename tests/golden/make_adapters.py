"""Make the adapters in ``tests/golden/peft``, and what PEFT itself merges them to.

PEFT is no dependency: it needs transformers. Run it where it is installed: ``python tests/golden/make_adapters.py``.
"""

from pathlib import Path

import peft
import torch
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).parent / "peft"


class Net(nn.Module):
    """A network with a convolution, a pointwise one, two linear layers and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.point = nn.Conv2d(4, 6, 1)
        self.body = nn.Linear(6, 8)
        self.fc = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.point(self.conv(images).relu()).relu().mean((2, 3))
        logits: torch.Tensor = self.head(self.fc(self.body(features).relu()).relu())
        return logits


CONFIGS = {
    "plain": peft.LoraConfig(r=2, lora_alpha=6, target_modules=["body", "fc"]),
    "convolutions": peft.LoraConfig(r=2, lora_alpha=3, target_modules=["conv", "point"], modules_to_save=["head"]),
    "patterns": peft.LoraConfig(
        r=2,
        lora_alpha=5,
        use_rslora=True,
        bias="lora_only",
        target_modules=["conv", "body", "fc"],
        rank_pattern={"fc": 3},
        alpha_pattern={"body": 9},
    ),
    "dora": peft.LoraConfig(r=2, use_dora=True, target_modules=["fc"]),
    "lokr": peft.LoKrConfig(r=2, target_modules=["fc"]),
}


def main() -> None:
    """Write every adapter with random weights, the base, and the merged weights."""
    torch.manual_seed(0)
    base = Net()
    FOLDER.mkdir(exist_ok=True)
    save_file(base.state_dict(), FOLDER / "base.safetensors")
    for name, config in CONFIGS.items():
        net = Net()
        net.load_state_dict(base.state_dict())
        adapted = peft.get_peft_model(net, config)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter))
        adapted.save_pretrained(FOLDER / name)
        (FOLDER / name / "README.md").unlink(missing_ok=True)
        save_file(adapted.merge_and_unload().state_dict(), FOLDER / name / "merged.safetensors")


if __name__ == "__main__":
    main()
