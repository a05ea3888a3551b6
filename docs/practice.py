"""Practice material for the tutorial: a folder of images, and the weights of a network that was trained on them.

Writes ``photos/`` (handwritten digits, one folder for each class) and ``digits.pth`` (as training scripts save it) into
the current folder.
"""

from pathlib import Path

import timm
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EPOCHS = 8

digits = load_digits()
for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
    folder = Path("photos", "test" if number % 4 == 0 else "train", NAMES[label])
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 255 / 16).astype("uint8")).save(folder / f"{number:04}.png")

torch.manual_seed(0)
seen = transforms.Compose([transforms.Resize(32), transforms.ToTensor(), transforms.Normalize([0.3] * 3, [0.35] * 3)])
images = ImageFolder("photos/train", seen)
network = timm.create_model("test_resnet", num_classes=len(images.classes))
optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, epochs=EPOCHS, steps_per_epoch=len(images) // 64 + 1)
for epoch in range(EPOCHS):
    right = 0
    for batch, labels in DataLoader(images, batch_size=64, shuffle=True):
        logits = network(batch)
        loss = cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        right += int((logits.argmax(1) == labels).sum())
    print(f"epoch {epoch + 1} of {EPOCHS}: {right / len(images):.1%} of the training images recognised")
torch.save({"epoch": EPOCHS, "state_dict": network.state_dict()}, "digits.pth")
print("wrote photos/ and digits.pth")
