"""Makes inputs for a model out of its graph inputs.

Eight kinds of contents, each there for what it shows:

    normal     N(0, 1), from two seeds: what networks are trained on
    uniform    [0, 1): images; a mean that is not 0
    large      N(0, 1) times 100 (16 in float16, which ends at 65504): saturation and overflow
    zeros      the biases alone
    constant   0.7 everywhere: what happens at the borders of padded convolutions
    overridden normal, and the defaults of inputs that need not be fed are moved: only if there are such inputs
    …          integers: over the whole of a table that they index; else small ones, so that they are legal indices;
               bytes over their whole range; strings: a few words, and the empty one

and two sizes for every symbolic dimension, so that a size baked in by mistake is seen; a batch of one with the
constant, whose samples are all alike anyway.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.errors import ExecutionError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["InputSet", "Sizes", "default_inputs", "fallback_inputs", "fed_inputs", "make_inputs", "only_tensors"]

_KINDS = (("normal", 0), ("normal", 1), ("uniform", 2), ("large", 3), ("zeros", 4), ("constant", 5))
_BYTES = frozenset({ir.DataType.INT8, ir.DataType.UINT8})
_INTEGERS = _BYTES | {
    ir.DataType.INT16,
    ir.DataType.INT32,
    ir.DataType.INT64,
    ir.DataType.UINT16,
    ir.DataType.UINT32,
    ir.DataType.UINT64,
}
_FLOATS = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE})
_UNEXCHANGED = ir.DataType.BFLOAT16  # between onnxruntime and Python
_SUPPORTED = _FLOATS | _INTEGERS | {ir.DataType.BOOL, ir.DataType.STRING}
_WORDS = ("", "a", "b", "A", "0", "1.5", "cat", "dog", "the cat", "größer")
_COMPARED = "only tensors of numbers or strings"
_CARRIERS = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_DEFAULTS_MOVE_BY = 0.03  # enough to see whether they are read, little enough for the model to stay what it is
_FIRST_IR_VERSION_WITH_DEFAULTS = 4  # before, every initializer was also listed as an input
_ELEMENTS = 1 << 16  # of an input, in one set: enough for a tight ratio, little enough for the oracle


@dataclass(frozen=True)
class Sizes:
    """What symbolic dimensions become: the first axis is a batch, the others are lengths, heights, widths.

    Attributes:
        batch: The size of the first axis.
        length: The size of the others.
        named: Symbols whose size is known better, each with it.
    """

    batch: int
    length: int
    named: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class InputSet:
    """One run's inputs.

    Attributes:
        name: What they hold, such as ``normal``.
        seed: What ``numpy.random.default_rng`` was given; None for inputs that somebody gave.
        sizes: What the symbolic dimensions became; None for those.
        feeds: Array by input name.
    """

    name: str
    seed: int | None
    sizes: Sizes | None
    feeds: dict[str, NDArray[np.generic]]

    def __str__(self) -> str:
        shapes = ("×".join(map(str, array.shape)) or "scalar" for array in self.feeds.values())
        if not self.feeds:
            return "no inputs"
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.name}{seed}, {', '.join(shapes)}"


def fed_inputs(model: ir.Model) -> list[ir.Value]:
    """The graph inputs that a run needs: files of IR version 3 list their initializers among them."""
    return [value for value in model.graph.inputs if value.name not in model.graph.initializers]


def only_tensors(model: ir.Model, path: str, *, are_given: bool = False) -> None:
    """See that the model's inputs and outputs are tensors of numbers or strings, and the inputs of known rank.

    Args:
        model: The model.
        path: What to call it.
        are_given: There are inputs, so that their rank need not be known.

    Raises:
        ModelError: A sequence, an optional, a sparse tensor, complex numbers, or an input of unknown rank.
    """
    for value in (*fed_inputs(model), *model.graph.outputs):
        if not isinstance(value.type, ir.TensorType) or value.dtype not in _SUPPORTED:
            raise ModelError(f"{path}: '{value.name}' is {value.type}; {_COMPARED} can be compared")
    for value in fed_inputs(model):
        if value.shape is None and not are_given:
            raise ModelError(f"{path}: input '{value.name}' has no shape, so no inputs can be made for it")


def default_inputs(model: ir.Model) -> tuple[InputSet, ...]:
    """All kinds of contents, at two sizes in turn, and a batch of one.

    A model of a fixed small batch gets its normal inputs from more seeds: a verdict needs independent roundings.
    """
    both = _two_sizes(model)
    if not fed_inputs(model):
        return (make_inputs(model, *_KINDS[0], both[0]),)  # there is nothing to vary
    kinds = [*_KINDS]
    if not any(_is_symbolic(value) for value in fed_inputs(model)):
        kinds += [("normal", seed) for seed in range(6, 6 + min(6, _room(model, both[0]) - 1))]
    sizes = {"constant": Sizes(1, both[1].length)}
    sets = [
        make_inputs(model, kind, seed, sizes.get(kind, both[index % 2])) for index, (kind, seed) in enumerate(kinds)
    ]
    moved = _moved_defaults(model)
    if moved:
        first = sets[0]
        sets.append(InputSet("overridden", first.seed, first.sizes, first.feeds | moved))
    return tuple(sets)


def _moved_defaults(model: ir.Model) -> dict[str, NDArray[np.generic]]:
    """Values near the defaults for the inputs that have one, where they are floats."""
    if model.ir_version < _FIRST_IR_VERSION_WITH_DEFAULTS:
        return {}
    rng = np.random.default_rng(0)
    moved = {}
    for value in model.graph.inputs:
        default = model.graph.initializers.get(value.name or "")
        if default is not None and default.const_value is not None and default.dtype in _FLOATS - {_UNEXCHANGED}:
            moved[value.name or ""] = _near(default.const_value.numpy(), rng)
    return moved


def _near(array: NDArray[np.generic], rng: np.random.Generator) -> NDArray[np.generic]:
    """Every number moved by a few per cent: signs stay, for a variance; zeros become positive."""
    wide = array.astype(np.float64)
    largest = float(np.abs(wide).max(initial=0.0)) or 1.0
    factor = 1 + _DEFAULTS_MOVE_BY * rng.uniform(-1, 1, wide.shape)
    return np.asarray(
        np.where(wide == 0, _DEFAULTS_MOVE_BY * largest * rng.random(wide.shape), wide * factor), array.dtype
    )


def fallback_inputs(model: ir.Model) -> tuple[InputSet, ...]:
    """For a model that refused all of the above: one sample, as large as photographs are."""
    return tuple(make_inputs(model, kind, seed, Sizes(1, 224)) for kind, seed in _KINDS)


def _two_sizes(model: ir.Model) -> tuple[Sizes, Sizes]:
    """Two sizes: 16 and 9 samples of 64 and 32 pixels, and fewer of large samples.

    Both lengths are powers of two, for networks that halve and double them.
    """
    first = min(16, max(2, _room(model, Sizes(1, 64))))
    return Sizes(first, 64), Sizes(max(1, first * 9 // 16), 32)


def make_inputs(model: ir.Model, kind: str, seed: int, sizes: Sizes) -> InputSet:
    """One set of inputs; the same arguments give the same arrays.

    Raises:
        ExecutionError: They do not fit into memory.
    """
    rng = np.random.default_rng(seed)
    shapes = _shapes(fed_inputs(model), sizes)
    feeds = {}
    for value, shape in zip(fed_inputs(model), shapes, strict=True):
        try:
            feeds[value.name or ""] = _fill(kind, shape, value.dtype or ir.DataType.FLOAT, rng, _rows(value))
        except MemoryError:
            words = "×".join(map(str, shape))
            raise ExecutionError(f"not enough memory for an input '{value.name}' of {words} numbers") from None
    return InputSet(kind, seed, sizes, feeds)


def _room(model: ir.Model, sizes: Sizes) -> int:
    """How many runs of these sizes fit into a set."""
    largest = max((math.prod(shape) for shape in _shapes(fed_inputs(model), sizes)), default=1)
    return max(1, _ELEMENTS // max(1, largest))


def _is_symbolic(value: ir.Value) -> bool:
    return value.shape is not None and not value.shape.is_static()


def _shapes(values: Sequence[ir.Value], sizes: Sizes) -> list[tuple[int, ...]]:
    """The same symbol gets the same size everywhere; one that is anyone's first axis is a batch."""
    dimensions = [tuple(value.shape or ()) for value in values]
    batches = {_symbol(dims[0]) for dims in dimensions if dims}
    named = dict(sizes.named)

    def concrete(axis: int, dim: int | ir.SymbolicDim) -> int:
        if isinstance(dim, int):
            return dim
        symbol = _symbol(dim)
        if symbol in named:
            return named[symbol]
        is_batch = axis == 0 if symbol is None else symbol in batches
        return sizes.batch if is_batch else sizes.length

    return [tuple(concrete(axis, dim) for axis, dim in enumerate(dims)) for dims in dimensions]


def _symbol(dim: int | ir.SymbolicDim) -> str | None:
    return None if isinstance(dim, int) else dim.value


def _rows(indices: ir.Value) -> int | None:
    """How many rows the smallest constant table has that a value indexes; None if it indexes none."""
    found: list[int | None] = []
    for node, position in indices.uses():
        if node.op_type in _CARRIERS and position == 0:
            found.append(_rows(node.outputs[0]))
        elif node.op_type == "Gather" and position == 1:
            axis = node.attributes.get_int("axis", 0)
            shape = _constant_shape(node.inputs[0])
            found.append(shape[axis] if shape else None)
    return min((rows for rows in found if rows), default=None)


def _constant_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tuple(tensor.shape.numpy())


def _fill(
    kind: str, shape: tuple[int, ...], dtype: ir.DataType, rng: np.random.Generator, rows: int | None
) -> NDArray[np.generic]:
    numpy_type = dtype.numpy()
    if dtype in _FLOATS:
        return np.asarray(_floats(kind, shape, 16.0 if dtype is ir.DataType.FLOAT16 else 100.0, rng), numpy_type)
    if dtype is ir.DataType.STRING:
        few = {"zeros": _WORDS[:1], "constant": _WORDS[1:2]}.get(kind, _WORDS)
        return np.asarray(rng.choice(np.array(few, dtype=object), shape), object)
    if kind in {"zeros", "constant"}:
        return np.full(shape, kind == "constant" and rows != 1, numpy_type)
    if rows and dtype in _INTEGERS:
        return np.asarray(rng.integers(0, min(rows, np.iinfo(numpy_type).max), shape), numpy_type)
    if dtype in _BYTES:
        limits = np.iinfo(numpy_type)
        return np.asarray(rng.integers(limits.min, limits.max, shape, endpoint=True), numpy_type)
    highest = 2 if dtype is ir.DataType.BOOL else {"uniform": 2, "large": 100}.get(kind, 10)
    return np.asarray(rng.integers(0, highest, shape), numpy_type)


def _floats(kind: str, shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> NDArray[np.float64]:
    if kind == "zeros":
        return np.zeros(shape)
    if kind == "constant":
        return np.full(shape, 0.7)
    if kind == "uniform":
        return rng.random(shape)
    return rng.standard_normal(shape) * (scale if kind == "large" else 1.0)
