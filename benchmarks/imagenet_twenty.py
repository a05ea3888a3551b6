"""Twenty classes forgotten from somebody else's ImageNet weights, one request at a time, with one photograph a class.

    python benchmarks/imagenet_twenty.py path/to/imagenet-one-each.zip path/to/tf_efficientnet_lite0.safetensors
        [--classes 1000] [--requests 20] [--judged 200] [--solvers A,B ...] [--seeds 0] [--work DIR] [--json FILE]

There is one photograph of each class and no test split, so one is made. Training image: the photograph. Test images:
the photograph mirrored, and its upper left part (four fifths of the shorter side, square), mirrored too. So what is
measured is whether the network still recognises *this photograph* in other forms, not whether it still knows the class.
And the one image of a class is all that the ledger has to collect from, to choose by and to check the gates on.

``--classes`` below 1,000 takes evenly spaced classes and only their outputs of the classifier: a quick first look.
"""

import sys
import tempfile
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from one_by_one import OneByOne, View, arguments, drawn, figures, missed_bars, report, run, runs, write_json
from PIL import Image, ImageOps

from ledger.config import create_config
from ledger.domain.models import Architecture
from ledger.domain.settings import Settings
from ledger.service.ledger import create_ledger
from ledger.service.models.registration import Registration, register
from ledger.weights import tensor_files

MODEL, CLASSES = "lite0", 1000
ARCHITECTURE = Architecture("timm/tf_efficientnet_lite0", {})
NORMALISATION = {"mean": (0.498,), "std": (0.502,)}
CLASSIFIER = ("classifier.weight", "classifier.bias")
FORMS = ("mirrored", "corner")
"""The test images of a class, in the order of their files."""
PART = 0.8
"""Side of the corner, as a share of the photograph's shorter side."""
QUALITY = 95
MOST_LOSS = 0.01
JUDGED = "mirrored"


def spaced(classes: int) -> list[int]:
    """Return so many of ImageNet's classes, evenly spaced."""
    return [k * CLASSES // classes for k in range(classes)]


def forms(photograph: Image.Image) -> list[Image.Image]:
    """Return the test images made of a photograph, in the order of ``FORMS``."""
    side = round(PART * min(photograph.size))
    return [ImageOps.mirror(photograph), ImageOps.mirror(photograph.crop((0, 0, side, side)))]


def make_images(archive: Path, folder: Path, classes: Sequence[int]) -> Path:
    """Lay photographs out in ``train/`` and what is made of them in ``test/``, once; return the folder of both."""
    images = folder / f"images-{len(classes)}"
    if (images / "done").exists():
        return images
    with zipfile.ZipFile(archive) as packed:
        names = sorted(name for name in packed.namelist() if name.endswith(".jpg"))
        for name in (names[k] for k in classes):
            label, data = Path(name).parent.name, packed.read(name)
            train, test = (images / split / label for split in ("train", "test"))
            for place in (train, test):
                place.mkdir(parents=True, exist_ok=True)
            (train / "photograph.jpg").write_bytes(data)
            for n, (form, image) in enumerate(zip(FORMS, forms(Image.open(BytesIO(data))), strict=True)):
                image.save(test / f"{n}-{form}.jpg", quality=QUALITY)
    (images / "done").touch()
    return images


def cut_weights(weights: Path, folder: Path, classes: Sequence[int]) -> Path:
    """Return the weights with the classifier's outputs of these classes only."""
    if len(classes) == CLASSES:
        return weights
    state = tensor_files.parse(weights.read_bytes(), str(weights))
    cut = folder / f"lite0-{len(classes)}.safetensors"
    cut.write_bytes(
        tensor_files.serialise(state | {name: state[name][list(classes)].contiguous() for name in CLASSIFIER})
    )
    return cut


def registered(folder: Path, images: Path, weights: Path, settings: Settings, looked_at: Sequence[int]) -> OneByOne:
    """Register the network in a new ledger.

    Args:
        folder: Of the ledger.
        images: From :func:`make_images`.
        weights: Of as many classes.
        settings: How to unlearn.
        looked_at: Classes whose images are looked at after each request.
    """
    ledger = create_ledger(create_config(folder, "sqlite:///ledger.db", "objects"), "bench")
    register(
        ledger,
        Registration(
            name=MODEL,
            architecture=ARCHITECTURE,
            weights=weights,
            data_spec=f"folder:{images}",
            labels=None,
            preprocessing=NORMALISATION,
            settings=settings,
        ),
    )
    source = ledger.plugins.data_source(f"folder:{images}")
    views = {"photograph": View(source.train, looked_at)}
    for n, form in enumerate(FORMS):
        views[form] = View(source.test, [len(FORMS) * k + n for k in looked_at])
    return OneByOne(ledger, MODEL, views)


def looked_at(classes: int, forgotten: Sequence[int], judged: int) -> list[int]:
    """Return the forgotten classes and, drawn by a fixed seed, ``judged`` others, in order."""
    others = [k for k in range(classes) if k not in forgotten]
    picked = np.random.default_rng(0).permutation(others)[:judged]
    return sorted({*forgotten, *(int(k) for k in picked)})


def main() -> int:
    """Forget in every run; return 1 if a bar is missed."""
    parser = arguments(__doc__, requests=20)
    parser.add_argument("images", type=Path, help="zip with imagenet/WNID_NAME/1.jpg")
    parser.add_argument("weights", type=Path, help="of timm's tf_efficientnet_lite0 (safetensors)")
    parser.add_argument("--classes", type=int, default=CLASSES)
    parser.add_argument("--judged", type=int, default=200, help="retained classes that are looked at; all take long")
    options = parser.parse_args()
    found, every = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = options.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        classes = spaced(options.classes)
        images = make_images(options.images, folder, classes)
        weights = cut_weights(options.weights, folder, classes)
        order = drawn(len(classes), options.requests, options.forget_seed)
        shown = looked_at(len(classes), order, options.judged)
        for settings in runs(options):
            with tempfile.TemporaryDirectory(dir=folder) as place:
                bench = registered(Path(place) / "ledger", images, weights, settings, shown)
                steps = run(bench, order)
                bench.ledger.close()
            missed = missed_bars(steps, JUDGED, MOST_LOSS)
            report(settings, steps, missed, JUDGED)
            found.append(figures(settings, steps, missed))
            every += missed
    write_json(options.json, {"classes": len(classes), "judged": options.judged, "runs": found})
    return int(bool(every))


if __name__ == "__main__":
    sys.exit(main())
