"""``fold_module(module, example)``: the BatchNorms of a PyTorch module, folded in the module itself.

    calling.py          the example: run, exported, repeated with other numbers
    correspondence.py   what a fold of the exported graph means for the module, and what stands against that
    origins.py          where each number of a constant comes from
    changing.py         what becomes of the module
    comparing.py        what a fold changes of each constant
    aliasing.py         what no longer writes a tensor of its own
    equality.py         how far two modules lie apart

The module is exported in float64, and its graph is folded by the planner that folds every other graph. Where a part of
the plan cannot be carried back to the module, the node in question has to stay as it is, and the graph is folded again:
the planner finds another way, or the BatchNorm stays, with that reason. What comes out is run beside the module in
float64, before any weight is rounded.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from bnfold.errors import ModelError
from bnfold.exporting.conversion import first_cause
from bnfold.exporting.modules.calling import Call
from bnfold.exporting.modules.changing import Changes, apply, complete, dtype_of, tensors_of
from bnfold.exporting.modules.correspondence import Correspondence
from bnfold.exporting.modules.equality import difference
from bnfold.folding import fold
from bnfold.folding.planning import MOST_SHIFT
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn
    from torch.nn.modules.batchnorm import _BatchNorm

    from bnfold.folding import Folded, FoldResult, Kept

__all__ = ["FoldedLayer", "FoldedModule", "KeptLayer", "fold_module"]

# Of the largest output. Folds of a hundred layers come out at 1e-13 where all is computed in float64; what a module
# converts to another type by itself is no closer than that type.
_TOLERANCES = {
    ir.DataType.DOUBLE: 1e-9,
    ir.DataType.FLOAT: 1e-5,
    ir.DataType.FLOAT16: 1e-2,
    ir.DataType.BFLOAT16: 1e-1,
}

_UNREACHED = "is called by code that holds it in a place of its own, where nothing can be put in its place"


@dataclass(frozen=True)
class FoldedLayer:
    """A layer that is ``nn.Identity`` now.

    Attributes:
        layer: Its path in the module, such as ``features.1``.
        route: ``back`` into what writes its input, ``forward`` into what reads its output, or the shift back and the
            scale forward.
        into: The names of the parameters and buffers that took it in.
    """

    layer: str
    route: str
    into: tuple[str, ...]


@dataclass(frozen=True)
class KeptLayer:
    """A BatchNorm that stays.

    Attributes:
        layer: Its path in the module; the name of its node where it is no layer of its own.
        reason: Why, in one line.
    """

    layer: str
    reason: str


@dataclass(frozen=True)
class FoldedModule:
    """A folded module and the account of it.

    Attributes:
        module: The new module; the one that was given is untouched.
        folded: The layers that are gone, in the order of the network.
        kept: The BatchNorms that stay, likewise.
    """

    module: nn.Module = field(repr=False, metadata={"json": False})
    folded: tuple[FoldedLayer, ...]
    kept: tuple[KeptLayer, ...]


def fold_module(module: nn.Module, example: Tensor | tuple[Any, ...] | Mapping[str, Any]) -> FoldedModule:
    """Fold every BatchNorm of a module that can be folded exactly, into the weights of the module's own layers.

        >>> folded = bnfold.exporting.fold_module(module, torch.randn(2, 3, 224, 224))
        >>> folded.module(images)  # what module(images) is

    Layers that go become ``nn.Identity``, and a Conv or Linear without a bias may get one; all other code stays as it
    is. What is folded is what the module computes at inference, with its running statistics. All algebra is in float64,
    with one rounding to each parameter's dtype.

    Args:
        module: It stays as it is. A BatchNorm of it in training mode is left alone: call ``eval()`` first.
        example: What the module is called with: a tensor, a tuple of arguments, or a mapping of keyword arguments. The
            fold holds for all inputs of its kind, and for all sizes that torch's exporter can keep open.

    Returns:
        A copy of the module that computes the same, what went where in it, and why each other BatchNorm stayed.

    Raises:
        MissingDependencyError: torch or onnxscript is not installed.
        ExportError: torch cannot export the module.
        ModelError: It cannot be copied, or not be run on the example in float64; or the folded module does not compute
            the same.
    """
    require("torch", "onnxscript")
    try:
        reference = copy.deepcopy(module).cpu().double().eval()
    except Exception as error:  # whatever its own code raises
        raise ModelError(f"the module cannot be copied: {first_cause(error)}") from error
    complete(reference)
    call = Call.of(example, reference)
    known = Correspondence(call.export(reference), reference)
    reasons = _left_alone(module, known)
    while True:
        result = fold(known.model, keep=tuple(reasons), merge_branches=False)
        changes, obstacles = known.compare(result)
        obstacles = obstacles or _beyond(module, result, changes) or _differing(reference, changes, call, known)
        if not obstacles:
            break
        reasons |= obstacles  # of nodes that changed, so that none is among them yet
    folded = copy.deepcopy(module)
    apply(changes, folded)
    return FoldedModule(folded, _told(result, changes, known), _explained(module, result, changes, known, reasons))


def _left_alone(module: nn.Module, known: Correspondence) -> dict[str, str]:
    """The nodes that no fold may change, whatever the planner thinks of them, and why."""
    hooked = [path for path, part in module.named_modules() if path and _has_hooks(part)]
    norms, reasons = _batch_norms(module), {}
    modes = {path: part.training for path, part in module.named_modules()}
    for name, path in known.paths.items():
        watcher = next((other for other in hooked if f"{path}.".startswith(f"{other}.")), None)
        if watcher is not None:
            reasons[name] = f"stays as it is: '{watcher}' has hooks, which would see other numbers"
        elif modes.get(path, False) and known.nodes[name].op_type == "BatchNormalization":
            reasons[name] = "is in training mode, where each batch has statistics of its own: call eval() first"
        elif (norm := norms.get(path)) is not None and norm.running_mean is None:
            reasons[name] = "has no running statistics (track_running_stats=False): each batch has its own"
    return reasons


def _has_hooks(part: nn.Module) -> bool:
    return any(vars(part)[kind] for kind in ("_forward_hooks", "_forward_pre_hooks"))


def _batch_norms(module: nn.Module) -> dict[str, _BatchNorm]:
    """The BatchNorms of a module, each by its first path."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return {path: part for path, part in module.named_modules() if isinstance(part, _BatchNorm)}


def _beyond(module: nn.Module, result: FoldResult, changes: Changes) -> dict[str, str]:
    """The nodes that change as planned in float64, and not in the module's own types and memory."""
    bad = dict(changes.unstorable(module))
    obstacles = {
        node: f"has a parameter '{name}' that {bad[name]}"
        for node, names in changes.touched.items()
        for name in names
        if name in bad
    }
    limit = min((MOST_SHIFT[dtype] for _, tensor in tensors_of(module) if (dtype := dtype_of(tensor))), default=0.0)
    for entry in result.folded:
        if entry.conditioning > limit:
            shift = f"{entry.conditioning:.2g} standard deviations"
            reason = f"would cost other readers of its input bits, with a shift of {shift}"
            obstacles |= dict.fromkeys(_names(entry), reason)
    return obstacles


def _differing(reference: nn.Module, changes: Changes, call: Call, known: Correspondence) -> dict[str, str]:
    """Run the module with its changes beside the module itself, on the example and on random inputs.

    Returns:
        The nodes that must stay since code needs them: it looks into the layer, or works in place on what the layer
        writes. None where both compute the same.

    Raises:
        ModelError: They do not, and that cannot be why.
    """
    candidate = copy.deepcopy(reference)
    apply(changes, candidate)
    try:
        pairs = [(one.run(reference), one.run(candidate)) for one in (call, call.randomised(1), call.randomised(2))]
    except ModelError as error:
        used = [path for path in changes.removed if not _can_go(path, reference, call)]
        reason = "is used by code for more than to be called"
        if obstacles := {name: reason for path in used for name in known.nodes_of(path)}:
            return obstacles
        raise ModelError(f"the folded module cannot be run: {error}") from error
    distance = max(difference(*pair) for pair in pairs)
    if distance <= _TOLERANCES[known.computes_in]:
        return {}
    unreached = [path for path in changes.removed if not _is_reached(path, reference, call)]
    if obstacles := {name: _UNREACHED for path in unreached for name in known.nodes_of(path)}:
        return obstacles
    if changes.doubtful:
        return dict.fromkeys(changes.doubtful, "keeps apart what code behind it overwrites, and what others read")
    raise ModelError(
        f"the folded module does not compute what the module computes: in float64 they differ by {distance:.2g} of the "
        "largest output; does its code use layers in a way that torch.export does not see?"
    )


def _can_go(path: str, module: nn.Module, call: Call) -> bool:
    """Whether the module's code runs without a layer, whatever it computes then."""
    without = copy.deepcopy(module)
    apply(Changes(removed=[path]), without)
    try:
        call.run(without)
    except ModelError:
        return False
    return True


def _is_reached(path: str, module: nn.Module, call: Call) -> bool:
    """Whether the module's code calls a layer where it is registered; a list or a closure may hold it, too."""
    without = copy.deepcopy(module)
    apply(Changes(removed=[path]), without)
    calls: list[str] = []
    without.get_submodule(path).register_forward_hook(lambda *_: calls.append(path))
    call.run(without)
    return bool(calls)


def _told(result: FoldResult, changes: Changes, known: Correspondence) -> tuple[FoldedLayer, ...]:
    layers: dict[str, FoldedLayer] = {}
    for entry in result.folded:
        path = known.paths[_names(entry)[0]]
        into = [name for absorbed in entry.into for name in changes.touched.get(absorbed.node, ())]
        earlier = layers[path].into if path in layers else ()
        layers[path] = FoldedLayer(path, entry.route, tuple(dict.fromkeys((*earlier, *into))))
    return tuple(layers.values())


def _explained(
    module: nn.Module, result: FoldResult, changes: Changes, known: Correspondence, reasons: Mapping[str, str]
) -> tuple[KeptLayer, ...]:
    """The BatchNorms that stay: those that are called, in that order, and then those that never are."""
    norms = _batch_norms(module)
    kept: dict[str, list[str]] = {}
    for entry in result.kept:
        path = known.paths.get(_names(entry)[0], "")
        layer = path if path in norms else entry.node if entry.is_batch_norm else None
        if layer is not None:
            kept.setdefault(layer, []).append(_reason(entry, reasons))
    for path in norms:
        if path not in changes.removed:
            kept.setdefault(path, ["takes no part in what the module computes from the example"])
    return tuple(KeptLayer(layer, "; ".join(dict.fromkeys(texts))) for layer, texts in kept.items())


def _reason(entry: Kept, reasons: Mapping[str, str]) -> str:
    """Why a node stays; where another was asked to stay as it is, why that one was."""
    if (asked := next((name for name in _names(entry) if name in reasons), None)) is not None:
        return reasons[asked]
    texts = (
        f"{attempt.op_type} '{attempt.node}' {reasons.get(attempt.node, attempt.reason)}" for attempt in entry.attempts
    )
    return "; ".join(dict.fromkeys(texts)) or entry.reason


def _names(entry: Folded | Kept) -> list[str]:
    """The names of the nodes that an affine is made of."""
    return entry.node.split(" → ")
