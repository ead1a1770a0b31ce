"""The file is written, checked while nobody sees it, and only then put in place; with a fold, the folded one is."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold import folding, modelfile, verifying, zoo
from bnfold.errors import BnfoldError, ExportError, ModelError, VerificationError
from bnfold.exporting.agreeing import check_agreement
from bnfold.exporting.examples import made_up_sets
from bnfold.runtime.input_files import given_inputs
from bnfold.runtime.inputs import InputSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from bnfold.exporting.agreeing import Agreed
    from bnfold.exporting.meeting import Met
    from bnfold.exporting.preparing import Prepared
    from bnfold.exporting.sources import Loaded
    from bnfold.folding import FoldResult
    from bnfold.runtime.input_files import Source as Given
    from bnfold.verifying import Comparison
    from bnfold.zoo import Network
    from bnfold.zoo.data import Dataset

__all__ = ["Written", "write"]

_SAME_SCORE = 1e-6  # a row of 450 that flips is 2e-3; the last bits of a squared error are far below
_ROWS = 64  # of random input to a network of the zoo


@dataclass(frozen=True)
class Written:
    """A file that is in place.

    Attributes:
        external: The file beside it that holds its weights, or None.
        agreed: How well it agrees with the module; with a fold, how well its reference does.
        accuracy: Its score on held-out data; None where there are none.
        rows: How many rows are held out; likewise.
        fold: Where each BatchNormalization went, or None.
        comparison: How the fold was verified, or None.
    """

    external: Path | None
    agreed: Agreed
    accuracy: float | None = None
    rows: int | None = None
    fold: FoldResult | None = None
    comparison: Comparison | None = None


def write(
    model: ir.Model,
    loaded: Loaded,
    prepared: Prepared,
    met: Met,
    path: Path,
    *,
    given: Given | Sequence[Given] | None,
    is_external: bool,
    fold: bool,
) -> Written:
    """Write a graph, if it agrees with its module.

    Args:
        model: The graph.
        loaded: Where the module came from.
        prepared: The module.
        met: How it is called.
        path: Where.
        given: Inputs to compare on beside those that are made up.
        is_external: Put the weights into a file beside it.
        fold: Write the folded graph instead, if that agrees with the first.

    Raises:
        ExportError: It does not agree. Nothing is written.
        VerificationError: The fold does not; likewise.
        ModelError: The inputs that are given are not for it, or the file cannot be written.
        ExecutionError: onnxruntime cannot run it.
    """
    held_out = None if loaded.network is None else _held_out(loaded.network)
    sets = _sets(model, loaded, met, held_out)
    sets += [] if given is None else given_inputs(given, model)
    found: list[Written] = []

    def agree(file: Path) -> None:
        found.append(_agreed(file, loaded, prepared, met, sets, model, held_out))

    if not fold:
        saved = modelfile.save(
            model, path, external=is_external, sources={file.resolve() for file in loaded.files}, accept=agree
        )
        return replace(found[0], external=saved.external)
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        reference = Path(folder, path.name)
        modelfile.save(model, reference, external=is_external)
        agree(reference)
        result = folding.fold(model)

        def compare(file: Path) -> None:
            feeds = _feeds(met, found[0].agreed, given)
            compared = verifying.verify(reference, file, certificate=result, inputs=feeds)
            comparison = replace(compared, reference=loaded.name, candidate=str(path))
            if not comparison:
                raise VerificationError(f"{path}: not written, for the fold is not equivalent", comparison)
            found.append(replace(found[0], fold=result, comparison=comparison))

        saved = modelfile.save(
            result.model, path, external=is_external, sources={file.resolve() for file in loaded.files}, accept=compare
        )
    return replace(found[1], external=saved.external)


def _held_out(network: Network) -> Dataset | None:
    """What a network of the zoo is judged by; None where a run had data of its own, which are not here any more."""
    try:
        return network.load_data()
    except BnfoldError:
        if network.data == zoo.find(network.name).data:
            raise
        return None


def _feeds(met: Met, agreed: Agreed, given: Given | Sequence[Given] | None) -> Given | Sequence[Given] | None:
    """What a fold is verified on: what was given, or is known to be taken, or whatever ``verify`` makes up."""
    batches = {shape.dims[0] for shape in met.caller.inputs if shape.dims}
    is_plain = met.sizes[0].keys() <= batches and all(shape.dtype.startswith("float") for shape in met.caller.inputs)
    if given is not None or (is_plain and not met.example):
        return given
    return [one.feeds for one in agreed.sets]


def _sets(model: ir.Model, loaded: Loaded, met: Met, held_out: Dataset | None) -> list[InputSet]:
    """What is compared on, beside what is given."""
    if loaded.network is None or held_out is None:
        example = [InputSet("example", None, None, met.example)] if met.example else []
        return [*example, *made_up_sets(model, met.sizes)]
    name = loaded.network.input_name
    random = loaded.network.example_input(_ROWS)
    rows = {"random": random, "random, one row": random[:1], "held-out": held_out.held_out_inputs}
    return [InputSet(words, None, None, {name: array}) for words, array in rows.items()]


def _agreed(
    file: Path,
    loaded: Loaded,
    prepared: Prepared,
    met: Met,
    sets: list[InputSet],
    model: ir.Model,
    held_out: Dataset | None,
) -> Written:
    has_integers = any(not shape.dtype.startswith("float") for shape in met.caller.inputs)
    try:
        agreed = check_agreement(file, prepared.module, met.caller, sets)
    except ModelError as error:
        if isinstance(error, ExportError) or not has_integers:
            raise
        # Made-up integers that it does not take: 0 and 1 are most likely legal.
        made_up = [one for one in sets if one.seed is not None]
        others = [one for one in sets if one.seed is None]
        sets = [*others, *(made_up_sets(model, met.sizes, legal=True) if made_up else [])]
        try:
            agreed = check_agreement(file, prepared.module, met.caller, sets)
        except ExportError:
            raise
        except ModelError as second:
            raise ModelError(f"{second}; give inputs that it takes with --inputs") from second
    if loaded.network is None or held_out is None:
        return Written(None, agreed)
    (name,) = met.caller.outputs
    task = loaded.network.task
    scores = [task.score(found[-1][name], held_out.held_out_targets) for found in (agreed.reference, agreed.candidate)]
    if not abs(scores[0] - scores[1]) <= _SAME_SCORE:
        raise ExportError(f"held-out {task.score_name}: PyTorch reaches {scores[0]:.2%}, onnxruntime {scores[1]:.2%}")
    return Written(None, agreed, scores[1], len(held_out.held_out_targets))
