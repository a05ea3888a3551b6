"""Compute kept sums again from the class spaces in them, and compare, bit for bit."""

from collections.abc import Iterator

from ledger.digest import sha256_hex
from ledger.domain.class_spaces import ClassSpace, NewClassSpace
from ledger.domain.kept_results import KeptResult
from ledger.domain.linear_map import LinearMap
from ledger.domain.models import Model
from ledger.errors import ObjectError
from ledger.service.ledger import Ledger


def differing_parts(ledger: Ledger, model: Model, kept: KeptResult) -> Iterator[str]:
    """Yield the digest of each part that is not what the class spaces in it add up to.

    Neither the network nor images are needed.

    Args:
        ledger: The ledger.
        model: The sums' model.
        kept: The sums.

    Raises:
        ObjectError: A class space or a part cannot be read: nothing can be compared.
        WeightsError: One of them is not what was stored.
    """
    # Imported here: looking at sizes and keys alone does not need torch.
    import torch

    from ledger.networks.map_groups import MapGroup
    from ledger.spaces import files
    from ledger.spaces.retained import MapShape, RetainBasis, part_tensors, shapes_of_part
    from ledger.weights import tensor_files

    def group(name: str, record: NewClassSpace, window: int | None = None) -> MapGroup:
        known = [one for one in record.maps if one.key == name]
        # An earlier release recorded each group of a convolution by itself.
        members = [one for one in record.maps if one.key.startswith(f"{name}[")]
        count = known[0].groups if known else len(members)
        width = (known or members)[0].width
        if known and count == 1:
            return MapGroup(name, (LinearMap(name, name, 0, 1, width),))
        return MapGroup(
            name,
            tuple(LinearMap(f"{name}[{j}]", name, j, j + 1, width, grouped=True, window=window) for j in range(count)),
        )

    records = [_record(ledger, model, *member) for member in kept.members]
    shapes: list[MapShape] = []
    for part in kept.parts:
        tensors = tensor_files.parse(ledger.objects.get(part.object_digest), f"kept sums of {model.name}")
        shapes += shapes_of_part(tensors, [group(name, records[0]) for name in part.names])
    basis = RetainBasis(shapes, torch.device("cpu"))
    for record in records:
        groups = [group(shape.key, record, shape.window) for shape in shapes]
        basis.add(record.class_index, files.parse(ledger.objects.get(record.object_digest), record, groups))
    for part in kept.parts:
        again = tensor_files.serialise(part_tensors(basis.head, [basis.maps[name] for name in part.names]))
        if sha256_hex(again) != part.object_digest:
            yield part.object_digest


def _record(ledger: Ledger, model: Model, class_index: int, digest: str) -> ClassSpace:
    with ledger.database.read() as tx:
        record = tx.class_spaces.of_object(model, class_index, digest)
    if record is None:
        raise ObjectError(f"no row describes the class space {digest}, which is in a kept sum", fault="dangling")
    return record
