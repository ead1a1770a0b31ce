"""Small random networks with BatchNormalization, their folds, and folds with a fault in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tests.helpers.models import DTYPES, parse, set_constant

if TYPE_CHECKING:
    import onnx_ir as ir

FAULTS = (
    "epsilon dropped",
    "epsilon outside the root",
    "unbiased variance",
    "two channels swapped",
    "one bias lost",
    "one weight off by 1e-3",
)


@dataclass(frozen=True)
class Layer:
    """A linear operator and the BatchNormalization behind it."""

    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    mean: np.ndarray
    var: np.ndarray


@dataclass(frozen=True)
class Network:
    """Layers with Relu between them, as a reference and as a candidate that is folded in numpy."""

    layers: tuple[Layer, ...]
    operator: str
    batch: str = "N"
    size: int = 6
    epsilon: float = 1e-5
    dtype: str = "float"

    def reference(self) -> ir.Model:
        constants = {}
        for index, layer in enumerate(self.layers):
            constants |= {f"{name}{index}": array for name, array in vars(layer).items()}
        return self._model(constants, folded=False)

    def folded(self, fault: str = "", at: int = 0) -> ir.Model:
        """Every BatchNormalization folded in float64, rounded once; the fault, if any, is in layer ``at``."""
        constants = {}
        for index, layer in enumerate(self.layers):
            weight, bias = fold_layer(layer, self.epsilon, fault if index == at else "")
            constants |= {f"weight{index}": weight, f"bias{index}": bias}
        return self._model(constants, folded=True)

    def _model(self, constants: dict[str, np.ndarray], *, folded: bool) -> ir.Model:
        kernel = self.layers[0].weight.shape[-1]
        attributes = f"<pads = [{', '.join(['1' if kernel == 3 else '0'] * 4)}]>" if self._is_conv else "<transB = 1>"
        nodes, value = [], "x"
        for index in range(len(self.layers)):
            nodes.append(f"l{index} = {self.operator}{attributes}({value}, weight{index}, bias{index})")
            value = f"l{index}"
            if not folded:
                names = ", ".join(f"{name}{index}" for name in ("scale", "shift", "mean", "var"))
                nodes.append(f"n{index} = BatchNormalization<epsilon = {self.epsilon:f}>({value}, {names})")
                value = f"n{index}"
            nodes.append(f"r{index} = Relu({value})")
            value = f"r{index}"
        nodes[-1] = f"y = Identity({nodes[-1][nodes[-1].index('(') + 1 : -1]})"  # no Relu at the end
        image = f", {self.size}, {self.size}" if self._is_conv else ""
        channels = self.layers[0].weight.shape[1], len(self.layers[-1].bias)
        inputs, outputs = (f"{self.dtype}[{self.batch}, {count}{image}]" for count in channels)
        parameters = "".join(f", {self.dtype}[1] {name}" for name in constants)
        model = parse(f"g ({inputs} x{parameters}) => ({outputs} y) {{ {' '.join(nodes)} }}", opset=17, ir_version=8)
        for value in list(model.graph.inputs)[1:]:
            model.graph.inputs.remove(value)
            set_constant(model, value, constants[value.name].astype(DTYPES[self.dtype]))
        return model

    @property
    def _is_conv(self) -> bool:
        return self.operator == "Conv"


def fold_layer(layer: Layer, epsilon: float, fault: str = "") -> tuple[np.ndarray, np.ndarray]:
    """A layer's weight and bias with its BatchNormalization in them, in float64."""
    wide = {name: array.astype(np.float64) for name, array in vars(layer).items()}
    epsilon, var = float(np.float32(epsilon)), wide["var"]
    deviation = np.sqrt(var + epsilon)
    if fault == "epsilon dropped":
        deviation = np.sqrt(var)
    elif fault == "epsilon outside the root":
        deviation = np.sqrt(var) + epsilon
    elif fault == "unbiased variance":
        deviation = np.sqrt(var * 256 / 255 + epsilon)
    factor = wide["scale"] / deviation
    weight = wide["weight"] * factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
    bias = (wide["bias"] - wide["mean"]) * factor + wide["shift"]
    if fault == "two channels swapped":
        weight[[0, 1]], bias[[0, 1]] = weight[[1, 0]], bias[[1, 0]]
    elif fault == "one bias lost":
        bias[0] = 0
    elif fault == "one weight off by 1e-3":
        weight[0].flat[np.argmax(np.abs(weight[0]))] += 1e-3
    return weight, bias


def random_network(
    seed: int,
    *,
    operator: str | None = None,
    layers: int | None = None,
    widths: tuple[int, int] = (1, 16),
    var: tuple[float, float] = (1e-3, 10.0),
    mean: float | None = None,
    batch: str | None = None,
    dtype: str = "float",
) -> Network:
    """A network of 1 to 4 layers, unless told otherwise; ``var`` is spread evenly over its orders of magnitude."""
    rng = np.random.default_rng(seed)
    operator = operator or ("Conv", "Gemm")[rng.integers(2)]
    kernel = (3, 3) if operator == "Conv" and rng.integers(2) else (1, 1)
    channels, made = int(rng.integers(1, 9)), []
    for _ in range(layers or int(rng.integers(1, 5))):
        count = int(rng.integers(widths[0], widths[1] + 1))
        shape = (count, channels, *kernel) if operator == "Conv" else (count, channels)
        centre = rng.normal(size=count) if mean is None else np.full(count, mean)
        made.append(
            Layer(
                weight=rng.normal(size=shape) * np.sqrt(2 / (channels * kernel[0] * kernel[1])),
                bias=rng.normal(size=count) * 0.3 + (0 if mean is None else mean),
                scale=rng.uniform(0.5, 1.5, count) * rng.choice([1, 1, 1, -1], count),
                shift=rng.normal(size=count) * 0.5,
                mean=centre,
                var=10 ** rng.uniform(*np.log10(var), count),
            )
        )
        channels = count
    rounded = [Layer(**{name: array.astype(DTYPES[dtype]) for name, array in vars(layer).items()}) for layer in made]
    return Network(
        tuple(rounded),
        operator,
        batch=batch or str(rng.choice(["N", "1", "4"])),
        size=int(rng.integers(3, 9)),
        epsilon=float(rng.choice([1e-5, 1e-3])),
        dtype=dtype,
    )
