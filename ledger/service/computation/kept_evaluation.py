"""What the anchor weights answer to the images that new versions are measured on: kept from request to request.

Evaluators compare each new version with the anchor weights, on images that do not hang on what is forgotten. These are
answered once, in the chunks of :func:`ledger.units.answering.chunks`, so kept answers are those that would be given, to
the last bit. They go by everything that decides them; where any of it is another, all are given again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property

import torch
from safetensors.torch import load
from torch import Tensor

from ledger.digest import json_digest
from ledger.domain.kept_results import KeptPart, KeptResult, ResultKind
from ledger.errors import ObjectError
from ledger.evaluator_input import SplitName
from ledger.service.gates import gates_of
from ledger.units.answering import answer, chunks
from ledger.weights import tensor_files

from .kept_results import PART_BYTES, cut, find_kept_result, keep_result
from .measured_images import ImageBounds, splits_of
from .model_cards import card_of, surroundings_of
from .workbench import Workbench


class KeptEvaluation:
    """The anchor's answers to the images of every evaluation, as they are kept.

    Args:
        workbench: The model.
        samples: Indices of these images, by split.
    """

    def __init__(self, workbench: Workbench, samples: Mapping[SplitName, Sequence[int]]) -> None:
        self._workbench = workbench
        self._samples = samples

    @classmethod
    def of_gates(cls, workbench: Workbench) -> "KeptEvaluation":
        """Return the answers to the images that the gates of now measure, whatever a request forgets."""
        policy = gates_of(workbench.ledger, workbench.model).policy
        samples = ImageBounds.of_gates(policy).samples(workbench.source, workbench.model.settings.seed)
        return cls(workbench, {name: common for name, (common, _) in samples.items()})

    def find(self) -> dict[SplitName, Tensor] | None:
        """Return the logits (n, classes) by split; None if they are not kept, or not what would be answered now.

        Raises:
            AuditError: The audit log does not verify.
            RowError: A row is not what the audit log says.
        """
        kept = find_kept_result(self._workbench, ResultKind.EVALUATION)
        if kept is None or not self.holds(kept):
            return None
        tensors: dict[str, Tensor] = {}
        try:
            for part in kept.parts:
                tensors |= load(self._workbench.ledger.objects.get(part.object_digest))
        except ObjectError:
            # Damaged or missing: they can be given again.
            return None
        return {
            split: torch.cat([tensors[name] for name, own, _ in self._chunks() if own is split])
            for split in self._samples
        }

    def keep(self, logits: Mapping[SplitName, Tensor]) -> None:
        """Keep logits (n, classes), by split, in the place of what was kept before.

        Raises:
            LedgerError: They cannot be stored.
        """
        begun = dict.fromkeys(logits, 0)
        named: list[tuple[str, Tensor]] = []
        for name, split, chunk in self._chunks():
            start = begun[split]
            begun[split] += len(chunk)
            named.append((name, logits[split][start : begun[split]].clone()))
        parts = (
            ([name for name, _ in chunk], tensor_files.serialise(dict(chunk)))
            for chunk in cut(named, lambda item: item[1].numel() * item[1].element_size(), PART_BYTES)
        )
        keep_result(self._workbench, ResultKind.EVALUATION, self._members, parts)

    def holds(self, kept: KeptResult) -> bool:
        """Return whether kept answers are to the same images, by the same weights on the same kind of machine."""
        return list(kept.members) == self._members

    def again(self, part: KeptPart) -> bytes:
        """Return the bytes of a part of answers that hold, answered anew.

        Raises:
            DataError: An image cannot be read.
        """
        bench = self._workbench
        prepared = {"": bench.network.prepare_weights(bench.anchor_state)}
        found = {}
        for name, split, indices in self._chunks():
            if name in part.names:
                batches = bench.batches(splits_of(bench.source)[split], indices)
                found[name] = answer(bench.network, prepared, batches, features=False)[""].logits
        return tensor_files.serialise(found)

    def _chunks(self) -> Iterator[tuple[str, SplitName, Sequence[int]]]:
        """Yield name, split and images of each chunk."""
        for split, indices in self._samples.items():
            for number, chunk in enumerate(chunks(indices, self._workbench.model.settings.batch_size)):
                yield f"{split}:{number}", split, chunk

    @cached_property
    def _members(self) -> list[tuple[int, str]]:
        """The classes, each with the digest of everything that decides the answers to its images."""
        bench = self._workbench
        common = ["evaluation", card_of(bench).digest, asdict(surroundings_of(bench)), bench.anchor.weights]
        common += [json_digest([[name, list(chunk)] for name, _, chunk in self._chunks()])]
        content = bench.model.data.classes
        seen = {int(split.labels[i]) for name, split in splits_of(bench.source).items() for i in self._samples[name]}
        return [
            (k, json_digest([*common, k, asdict(content[k]) if content else bench.model.data_digest]))
            for k in sorted(seen)
        ]
