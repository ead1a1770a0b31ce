"""Where two models part: the first tensor that the candidate computes otherwise from the same tensors in front of it.

The certificate tells which tensors both models have with the same content. For one after the other the nodes behind the
nearest such tensors are run alone, in both models, on what the *reference* has there: the local error, which no earlier
fault has a part in. Both are computed in float64, so that only the weights differ; the measure is the error that the
reference itself makes in those nodes, as for whole models.

What does not show on this input, behind a Relu say that lets nothing of a channel through, is looked for with random
tensors in front of the nodes.

The measuring is in a child process. It exposes tensors in chunks: all of them at once would be all the memory of the
activations.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from bnfold import modelfile
from bnfold.agreement import nonfinite_mismatches, scaled_error, unit_roundoff
from bnfold.errors import ExecutionError
from bnfold.runtime.isolation import run_isolated
from bnfold.runtime.sessions import Level, Refusal
from bnfold.verifying.certificate import prepared
from bnfold.verifying.comparison import Divergence
from bnfold.verifying.parts import Part, Whole, as_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from bnfold.runtime.sessions import Feeds, Outputs
    from bnfold.verifying.certificate import Certificate
    from bnfold.verifying.running import Runner

    Array = NDArray[Any]
    Pairs = Sequence[tuple[str, str]]
    Channels = tuple[tuple[int, float], ...]
    Shown = tuple[onnx.ModelProto, onnx.ModelProto, Mapping[str, Array]]

__all__ = ["Located", "locate", "measure", "worst_of"]

# Of the local error, over that of the reference. Of the nodes of 240 correct folds of small networks, none is above it.
_LIMIT = 4.0
_WIDE_LIMIT = 64.0  # where there are a few values only, or no float64
_CHUNK = 16  # tensors that are exposed at once
_WORST = 3
_TINY = 1e-300
_VALUES = 16  # of a channel, or of all: with fewer, the luck of single roundings decides
_NEGLIGIBLE = 1e-3  # the size of a channel over that of all, below which it has no error of its own


@dataclass(frozen=True)
class Located:
    """The first pair that parts, with what it takes to show it again.

    Attributes:
        divergence: What is told of it.
        reference: The nodes of the reference in front of it, as a model.
        candidate: Those of the candidate, with the same interface.
        feeds: What the reference has in front of these nodes.
        hybrid: The candidate with the nodes of the reference in that place; None where they do not fit into it.
    """

    divergence: Divergence
    reference: bytes
    candidate: bytes
    feeds: Mapping[str, Array]
    hybrid: bytes | None


def locate(
    reference: ir.Model, candidate: ir.Model, certificate: Certificate, feeds: Feeds, *, name: str, runner: Runner
) -> Located | None:
    """The first pair of tensors that parts; None where every single pair agrees within rounding.

    Args:
        reference: The model that is right.
        candidate: The one that is not equivalent.
        certificate: What became of the reference's tensors.
        feeds: An input on which the two differ.
        name: What to call the candidate in messages.
        runner: Its limits on time and memory hold here too.

    Raises:
        ExecutionError: It took too long, or crashed.
    """
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        paths = [Path(folder, file) for file in ("reference.onnx", "candidate.onnx")]
        models = [prepared(model) for model in (reference, candidate)]
        for model, path in zip(models, paths, strict=True):
            modelfile.save(model, path)
        pairs = _pairs(certificate, *models)
        arguments = {"reference": str(paths[0]), "candidate": str(paths[1]), "pairs": pairs, "feeds": dict(feeds)}
        found: Located | None = run_isolated(
            "bnfold.verifying.locating:measure",
            arguments,
            subject=name,
            timeout=runner.timeout,
            memory_limit=runner.memory_limit,
        )
    if found is None:
        return None
    nodes = found.divergence.nodes
    wrong = [one for one in certificate.weights if one.finding == "wrong"]
    sites = tuple(dict.fromkeys(site for one in wrong if one.node in nodes for site in one.sites))
    changes = tuple(one for one in certificate.changes if one.node in nodes)
    told = replace(found.divergence, sites=sites or found.divergence.sites, changes=changes)
    return replace(found, divergence=told)


def worst_of(reference: Sequence[Outputs], candidate: Sequence[Outputs]) -> int:
    """Which of several runs differs most, over the size of its outputs."""

    def difference(at: int) -> float:
        pairs = [(array, candidate[at][name]) for name, array in reference[at].items()]
        if any(left.shape != right.shape or nonfinite_mismatches(left, right) for left, right in pairs):
            return float("inf")
        return max((scaled_error(left, right) for left, right in pairs), default=0.0)

    return max(range(len(reference)), key=difference)


def _pairs(certificate: Certificate, reference: ir.Model, candidate: ir.Model) -> list[tuple[str, str]]:
    """The tensors that have the same content, as the certificate knows them, or as their names say; outputs last."""
    written = [{v.name for node in model.graph for v in node.outputs} for model in (reference, candidate)]
    outputs = [v.name or "" for v in reference.graph.outputs]
    pairs = list(certificate.pairs)
    if not pairs:
        names = [v.name for node in reference.graph for v in node.outputs]
        pairs = [(name, name) for name in names if name and name in written[1]]
    pairs = [pair for pair in pairs if pair[0] not in outputs] + [(name, name) for name in outputs]
    return [(left, right) for left, right in pairs if left in written[0] and right in written[1]]


def measure(reference: str, candidate: str, pairs: Pairs, feeds: Feeds) -> Located | None:
    """The first pair that parts; for a child process."""
    left, right = (Whole(onnx.load(path)) for path in (reference, candidate))
    searcher = _Searcher(left, right, dict(pairs), feeds)
    for is_random in (False, True):
        for start in range(0, len(pairs), _CHUNK):
            found = searcher.search(pairs[start : start + _CHUNK], is_random=is_random)
            if found is not None:
                return found
    return None


class _Searcher:
    def __init__(self, reference: Whole, candidate: Whole, pairs: Mapping[str, str], feeds: Feeds) -> None:
        self._reference, self._candidate, self._feeds = reference, candidate, feeds
        self._theirs = dict(pairs)
        self._ours = {theirs: ours for ours, theirs in pairs.items()}

    def search(self, pairs: Pairs, *, is_random: bool) -> Located | None:
        parts = [(self._reference.part(a, self._theirs), self._candidate.part(b, self._ours)) for a, b in pairs]
        parts = [(ours, theirs) for ours, theirs in parts if not self._are_same(ours, theirs)]
        if not parts:
            return None
        known = self._run(self._reference, {n for ours, theirs in parts for n in self._needed(ours, theirs)})
        for ours, theirs in parts:
            found = self._compare(ours, theirs, known, is_random=is_random)
            if found is not None:
                return found
        return None

    def _are_same(self, ours: Part, theirs: Part) -> bool:
        return ours.boundary == self._in_our_words(theirs) and ours.is_same(theirs)

    def _in_our_words(self, theirs: Part) -> tuple[str, ...]:
        return tuple(sorted(self._ours.get(name, name) for name in theirs.boundary))

    def _needed(self, ours: Part, theirs: Part) -> set[str]:
        return {ours.target, *ours.boundary, *self._in_our_words(theirs)} - self._reference.inputs

    def _run(self, whole: Whole, names: set[str]) -> dict[str, Array]:
        """The content of tensors, and of the inputs."""
        from bnfold.runtime import sessions

        model = onnx.ModelProto()
        model.CopyFrom(whole.model)
        outputs = {one.name for one in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(names - outputs))
        with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
            path = Path(folder, "exposed.onnx")
            onnx.save(model, path, save_as_external_data=model.ByteSize() > 1 << 30)
            (result,) = sessions.run(path, Level.DISABLED, [self._feeds])
        if isinstance(result, Refusal):
            raise ExecutionError(f"the tensors of a model could not be looked at: {result.reason}")
        return {**self._feeds, **{name: array for name, array in result.items() if name in names}}

    def _compare(self, ours: Part, theirs: Part, known: Mapping[str, Array], *, is_random: bool) -> Located | None:
        boundary = sorted({*ours.boundary, *self._in_our_words(theirs)})
        stored = known[ours.target]
        if any(name not in known for name in boundary) or stored.dtype.kind in "iubOSU":
            return None
        feeds = {name: known[name] for name in boundary}
        # Where a node is gone, two tensors of ours are one of theirs: as the target it is the one that is looked at.
        names = {**{self._theirs.get(name, name): name for name in boundary}, theirs.target: ours.target}
        left = as_model(ours, self._reference.model, feeds, stored.dtype, {})
        right = as_model(theirs, self._candidate.model, feeds, stored.dtype, names)
        own: Array | None = stored
        if is_random:
            feeds = {name: _random_like(array) for name, array in feeds.items()}
            own = _run_alone(left, feeds)
        exact, got = (_evaluate(model, feeds) for model in (left, right))
        limit = _LIMIT if stored.size >= _VALUES else _WIDE_LIMIT
        if exact is None or got is None:  # the evaluator lacks an operator
            exact, got = (_run_alone(model, feeds) for model in (left, right))
            limit = _WIDE_LIMIT
        if exact is None or got is None or own is None or exact.shape != own.shape:
            return None
        if exact.shape != got.shape:
            return self._part(ours, theirs, (left, right, feeds), (np.inf, np.inf, ()), is_random=is_random)
        finite = np.isfinite(exact) & np.isfinite(got) & np.isfinite(own)
        truth, difference, error = (np.where(finite, array, 0.0) for array in (exact, got - exact, own - exact))
        ratio = max(
            _ratio(difference, error, truth, own.dtype), _ratio_of_channels(difference, error, truth, own.dtype)
        )
        lost = np.isfinite(exact) & ~np.isfinite(got)
        if ratio <= limit and not lost.any():
            return None
        errors = (_norm(difference) / max(_norm(truth), _TINY), ratio)
        channels = _worst_channels(lost if lost.any() else difference)
        measured = (*((np.inf, np.inf) if lost.any() else errors), channels)
        return self._part(ours, theirs, (left, right, feeds), measured, is_random=is_random)

    def _part(
        self, ours: Part, theirs: Part, shown: Shown, measured: tuple[float, float, Channels], *, is_random: bool
    ) -> Located:
        left, right, feeds = shown
        divergence = Divergence(
            reference=ours.target,
            candidate=theirs.target,
            nodes=tuple(dict.fromkeys(n.name or n.output[0] for n in (*theirs.nodes, *ours.nodes))),
            local_error=measured[0],
            local_ratio=measured[1],
            accumulated_error=self._accumulated(theirs.target, ours.target),
            worst_channels=measured[2],
            sites=tuple(n.name or n.output[0] for n in ours.nodes if n.op_type == "BatchNormalization"),
            is_hidden=is_random,
        )
        hybrid = self._without(ours, theirs)
        return Located(divergence, left.SerializeToString(), right.SerializeToString(), feeds, hybrid)

    def _accumulated(self, name: str, ours: str) -> float:
        got, expected = self._run(self._candidate, {name})[name], self._run(self._reference, {ours})[ours]
        if got.shape != expected.shape:
            return float("inf")
        if (np.isfinite(expected) & ~np.isfinite(got)).any():
            return float("inf")
        finite = np.isfinite(got) & np.isfinite(expected)
        difference = np.where(finite, got.astype(np.float64) - expected, 0.0)
        return _norm(difference) / max(_norm(np.where(finite, expected, 0.0)), _TINY)

    def _without(self, ours: Part, theirs: Part) -> bytes | None:
        """The candidate with the reference's own nodes where it parts."""
        imports = [
            {one.domain: one.version for one in whole.model.opset_import}
            for whole in (self._reference, self._candidate)
        ]
        if imports[0] != imports[1] or any(_has_bodies(node) for node in ours.nodes):
            return None
        model = onnx.ModelProto()
        model.CopyFrom(self._candidate.model)
        names = {name: self._theirs.get(name, name) for name in ours.boundary}
        # Where a node is gone, its input is the candidate's target as well: as it was.
        names = {name: f"replaced/{other}" if other == theirs.target else other for name, other in names.items()}
        names[ours.target] = theirs.target

        def renamed(name: str) -> str:
            return names.get(name) or (f"reference/{name}" if name else "")

        for node in model.graph.node:
            _rename(node.output, lambda name: f"replaced/{name}" if name == theirs.target else name)
        for node in ours.nodes:
            copy = model.graph.node.add()
            copy.CopyFrom(node)
            copy.name = f"reference/{node.name}" if node.name else ""
            _rename(copy.input, renamed)
            _rename(copy.output, renamed)
        for constant in ours.constants.values():
            copied = model.graph.initializer.add()
            copied.CopyFrom(constant)
            copied.name = renamed(constant.name)
        ordered = ir.from_proto(model)
        ordered.graph.sort()
        RemoveUnusedNodesPass()(ordered)  # what was replaced must not be judged with the rest
        return bytes(ir.to_proto(ordered).SerializeToString())


def _rename(field: Any, function: Any) -> None:
    names = [function(name) for name in field]
    del field[:]
    field.extend(names)


def _has_bodies(node: onnx.NodeProto) -> bool:
    return any(one.type in {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS} for one in node.attribute)


def _evaluate(model: onnx.ModelProto, feeds: Feeds) -> Array | None:
    """What a part computes in float64; None if the evaluator does not get there."""
    from onnx import reference

    from bnfold.verifying.oracle import own_operators, to_float64

    wide = ir.from_proto(model)
    to_float64(wide)
    try:
        evaluator = reference.ReferenceEvaluator(ir.to_proto(wide), new_ops=own_operators())
        inputs = {
            name: array if array.dtype.kind in "iub" else array.astype(np.float64) for name, array in feeds.items()
        }
        (result,) = evaluator.run(None, inputs)
    except Exception:  # of many kinds, where the evaluator knows less than onnxruntime
        return None
    array = np.asarray(result)
    return array if array.dtype == np.float64 else None


def _run_alone(model: onnx.ModelProto, feeds: Feeds) -> Array | None:
    from bnfold.runtime import sessions

    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        path = Path(folder, "part.onnx")
        onnx.save(model, path)
        (result,) = sessions.run(path, Level.DISABLED, [feeds])
    return None if isinstance(result, Refusal) else next(iter(result.values())).astype(np.float64)


def _ratio(difference: Array, error: Array, truth: Array, dtype: np.dtype[Any]) -> float:
    return _norm(difference) / max(_norm(error), unit_roundoff(dtype) * _norm(truth), _TINY)


def _ratio_of_channels(difference: Array, error: Array, truth: Array, dtype: np.dtype[Any]) -> float:
    """Half of the largest ratio of a channel: one of many shows in no norm of all, but has more luck."""
    if truth.ndim < 2 or truth.shape[1] < 2 or truth.size < _VALUES * truth.shape[1]:
        return 0.0
    differences, errors, sizes = map(_norms, (difference, error, truth))
    sizes = np.maximum(sizes, _NEGLIGIBLE * _norm(truth) / np.sqrt(truth.shape[1]))
    own = np.maximum(np.maximum(errors, unit_roundoff(dtype) * sizes), _TINY)
    return float((differences / own).max()) / 2


def _random_like(array: Array) -> Array:
    """Numbers of the same size that are nowhere 0, as they are behind a Relu."""
    if array.dtype.kind in "iub" or not array.size:
        return array
    finite = np.where(np.isfinite(array), array, 0).astype(np.float64)
    size = float(np.sqrt(np.mean(np.square(finite)))) or 1.0
    return np.asarray(np.random.default_rng(0).standard_normal(array.shape) * size, array.dtype)


def _norms(array: Array) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(np.moveaxis(array, 1, 0).reshape(array.shape[1], -1), axis=1))


def _norm(array: Array) -> float:
    return float(np.linalg.norm(array.astype(np.float64)))


def _worst_channels(difference: Array) -> tuple[tuple[int, float], ...]:
    """The channels that err most, each with its share of the whole error; none where there is one channel."""
    if difference.ndim < 2 or difference.shape[1] < 2:
        return ()
    errors = _norms(difference)
    total = max(float(np.linalg.norm(errors)), _TINY)
    worst = np.argsort(-errors)[:_WORST]
    return tuple((int(channel), float(errors[channel] / total)) for channel in worst if errors[channel] > 0)
