"""The activations from which candidates start, kept from request to request.

The anchor weights do not change from request to request, and most calibration images are the same each time: so is what
the network computes before the first edited layer. It is kept as answers are (:mod:`.kept_answers`), as much as
``kept_activations`` in ``unledger.toml`` allows a model, and decides nothing but how much of the network is run again.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from safetensors.torch import load

from ledger.answers.activations import Activations, Recorded
from ledger.answers.answer_blocks import AnswerBlock
from ledger.domain.kept_results import KeptPart, KeptResult, ResultKind
from ledger.errors import AuditError, LedgerError, RowError
from ledger.images.loading import load_images
from ledger.networks.partial_forward import record_outputs
from ledger.weights import tensor_files

from .kept_blocks import MODULE, KeptBlocks, modules_in, name_of, places, rows_of, stops
from .kept_results import cut, find_kept_result, keep_result
from .workbench import Workbench

MB = 1_000_000
FEWEST_WEIGHT_BYTES = 4 << 20
"""A smaller network computes its activations faster than they are encrypted, stored and entered in the log."""
PART_BYTES = 8 << 20
"""A stored part ends with the block that reaches this size. It is in memory three times while it is stored."""
MOST_SMALL_PARTS = 8
"""Each request adds an object with what it recorded. Beyond so many, what the last one wanted is put together anew."""


class KeptActivations(KeptBlocks):
    """The activations of the anchor weights of one model, as they are kept.

    Args:
        workbench: The model.
    """

    def __init__(self, workbench: Workbench) -> None:
        super().__init__(workbench, ResultKind.ACTIVATIONS)
        self._most = workbench.ledger.config.kept_activations * MB
        self._kept: KeptResult | None = None
        self._valid: frozenset[int] = frozenset()
        self._read: frozenset[AnswerBlock] = frozenset()

    @property
    def pays(self) -> bool:
        """Whether any may be kept, and the network is so large that it pays."""
        if not self._most:
            return False
        state = self._workbench.network.state().values()
        return sum(one.numel() * one.element_size() for one in state) >= FEWEST_WEIGHT_BYTES

    def read_into(self, activations: Activations) -> None:
        """Hand over what is kept, and is what would be recorded now.

        Raises:
            AuditError: The audit log does not verify.
            RowError: A row is not what the audit log says.
        """
        self._kept = find_kept_result(self._workbench, self._kind) if self.pays else None
        if self._kept is None:
            return
        self._valid = self.valid(self._kept, self._available(self._kept.parts))
        for part in self._kept.parts:
            modules = set(modules_in(part))
            blocks = self._blocks(part, self._valid)
            if any(block is not None and _serves(modules, activations.wanted(block)) for block in blocks):
                for block, recorded in self._in_part(part, blocks).items():
                    if _serves(modules, activations.wanted(block)):
                        activations.put(block, recorded)
        self._read = frozenset(activations.known)

    def keep(self, activations: Activations) -> None:
        """Keep what was recorded since, beside what is kept; where some of that is of no use, in its place.

        Where it cannot be stored, the next request records it again.

        Raises:
            AuditError: The audit log does not verify.
            RowError: A row is not what the audit log says.
        """
        fresh = {block: recorded for block, recorded in activations.known.items() if block not in self._read}
        if not fresh or not self.pays:
            return
        old = () if self._kept is None else self._kept.parts
        sound = self._valid == stops(old).keys() and not self._damaged
        small = sum(part.size < PART_BYTES for part in old)
        size = sum(part.size for part in old)
        more = sum(map(_bytes, fresh.values()))
        if not sound or small >= MOST_SMALL_PARTS or size + more > self._most:
            # What was of use again comes first: so will it be the next time.
            order = sorted(activations.known, key=lambda block: (block not in self._read, block))
            old, fresh = (), _fitting(activations.known, order, self._most)
            if sound and size <= self._most and fresh.keys() <= self._read:
                return  # there is no room for more than was there
        try:
            self._store(fresh, old)
        except (AuditError, RowError):
            raise
        except LedgerError as error:
            self._workbench.ledger.tell(f"activations are not kept, the next request computes them: {error.message}")

    def _store(self, fresh: Mapping[AnswerBlock, Recorded], old: Sequence[KeptPart]) -> None:
        if not fresh:
            return
        parts = [dict(part) for group in _alike(fresh) for part in cut(group, _weight, PART_BYTES)]
        members = self._members(old, fresh)
        keep_result(self._workbench, self._kind, members, ((_names(part), written(part)) for part in parts), beside=old)

    def again(self, part: KeptPart) -> bytes:
        """Return the bytes of a part whose classes are all valid, recorded anew.

        Raises:
            DataError: An image cannot be read.
        """
        network = self._workbench.network
        modules = {name: network.module.get_submodule(name) for name in modules_in(part)}
        recorded: dict[AnswerBlock, Recorded] = {}
        for block in (self._block(*place) for place in places(part)):
            images = load_images(self._workbench.source.train, block.indices, self._workbench.model.preprocessing)
            _, kept = record_outputs(network.module, modules.values(), network.prepare_images(images))
            recorded[block] = {name: kept[module] for name, module in modules.items()}
        return written(recorded)

    def _in_part(self, part: KeptPart, blocks: list[AnswerBlock | None]) -> dict[AnswerBlock, Recorded]:
        """Return what is in a part; nothing if it is missing or damaged: it can be recorded again."""
        data = self._stored(part)
        if data is None:
            return {}
        images = sum(stop - start for _, start, stop in places(part))
        tensors = {name: (tensor, len(tensor) // images) for name, tensor in load(data).items()}
        return {
            # A copy, so that the bytes of a part are not held for the sake of one block.
            block: {name: tensor[start * each : stop * each].clone() for name, (tensor, each) in tensors.items()}
            for block, start, stop in rows_of(part, blocks)
        }


def written(recorded: Mapping[AnswerBlock, Recorded]) -> bytes:
    """Return what was recorded of blocks, of the same modules each, as bytes."""
    names = next(iter(recorded.values()))
    return tensor_files.serialise({name: torch.cat([own[name] for own in recorded.values()]).cpu() for name in names})


def _serves(modules: set[str], wanted: frozenset[str]) -> bool:
    return bool(wanted) and wanted <= modules


def _names(recorded: Mapping[AnswerBlock, Recorded]) -> list[str]:
    modules = sorted(next(iter(recorded.values())))
    return [*(f"{MODULE}{name}" for name in modules), *map(name_of, recorded)]


def _alike(recorded: Mapping[AnswerBlock, Recorded]) -> list[list[tuple[AnswerBlock, Recorded]]]:
    """Return blocks in groups of which the same modules are recorded, each in order."""
    groups: dict[tuple[str, ...], list[tuple[AnswerBlock, Recorded]]] = {}
    for block in sorted(recorded):
        groups.setdefault(tuple(sorted(recorded[block])), []).append((block, recorded[block]))
    return [groups[names] for names in sorted(groups)]


def _fitting(
    recorded: Mapping[AnswerBlock, Recorded], order: Iterable[AnswerBlock], most: int
) -> dict[AnswerBlock, Recorded]:
    """Return as many blocks as fit, from the first of an order on."""
    found: dict[AnswerBlock, Recorded] = {}
    for block in order:
        most -= _bytes(recorded[block])
        if most < 0:
            break
        found[block] = recorded[block]
    return found


def _weight(item: tuple[AnswerBlock, Recorded]) -> int:
    return _bytes(item[1])


def _bytes(recorded: Recorded) -> int:
    return sum(one.numel() * one.element_size() for one in recorded.values())
