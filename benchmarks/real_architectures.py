"""Real architectures, exported, folded and verified: run ``python -m benchmarks.real_architectures``.

The networks are those of ``transformers``, ``pytorchcv`` and ``monai``, built as these packages build them, with random
weights and random statistics: nothing is downloaded. Each is exported by torch with nothing optimised, folded, and
verified by ``bnfold.verify``; and once more its BatchNorms are folded in the module, by ``fold_module``. ``--write``
puts the table into ``docs/architectures.md``. Everything but the seconds follows from the seed.

    pip install transformers pytorchcv monai

pytorchcv's networks are imported from their own files, since its list of all networks needs torchvision too.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import logging
import platform
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

import bnfold
from bnfold.exporting import fold_module

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"


@dataclass(frozen=True)
class Architecture:
    """A network.

    Attributes:
        package: Where it is from.
        build: Makes it, with random weights.
        shape: Of its input, with two rows.
        about: Which of its kind it is.
    """

    package: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    about: str


def _transformers(model: str, config: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        package = importlib.import_module("transformers")
        return getattr(package, model)(getattr(package, config)(**options))

    return build


def _pytorchcv(module: str, name: str) -> Callable[[], nn.Module]:
    return lambda: getattr(importlib.import_module(f"pytorchcv.models.{module}"), name)()


def _unet() -> nn.Module:
    nets = importlib.import_module("monai.networks.nets")
    return nets.UNet(3, 1, 2, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2, norm="batch")


ARCHITECTURES = {
    "ResNet": Architecture(
        "transformers",
        _transformers("ResNetForImageClassification", "ResNetConfig"),
        (2, 3, 64, 64),
        "ResNet-50",
    ),
    "RegNet": Architecture(
        "transformers",
        _transformers("RegNetForImageClassification", "RegNetConfig"),
        (2, 3, 64, 64),
        "RegNetY-040, with squeeze-and-excitation",
    ),
    "LeViT": Architecture(
        "transformers",
        _transformers("LevitForImageClassificationWithTeacher", "LevitConfig"),
        (2, 3, 224, 224),
        "LeViT-128S, with both heads",
    ),
    "MobileNetV2": Architecture(
        "transformers",
        _transformers("MobileNetV2ForImageClassification", "MobileNetV2Config"),
        (2, 3, 64, 64),
        "width 1.0, TensorFlow's padding",
    ),
    "EfficientNet": Architecture(
        "transformers",
        _transformers(
            *("EfficientNetForImageClassification", "EfficientNetConfig"),
            width_coefficient=1.0,
            depth_coefficient=1.0,
            hidden_dim=1280,
        ),
        (2, 3, 64, 64),
        "EfficientNet-B0",
    ),
    "PreResNet": Architecture(
        "pytorchcv",
        _pytorchcv("preresnet_cifar", "preresnet56_cifar10"),
        (2, 3, 32, 32),
        "PreResNet-56 for CIFAR-10",
    ),
    "DenseNet": Architecture(
        "pytorchcv",
        _pytorchcv("densenet_cifar", "densenet40_k12_cifar10"),
        (2, 3, 32, 32),
        "DenseNet-40 for CIFAR-10, growth 12",
    ),
    "UNet 3-D": Architecture("monai", _unet, (2, 1, 32, 32, 32), "five levels, residual units"),
}


@dataclass(frozen=True)
class Row:
    """What became of one.

    Attributes:
        name: In ``ARCHITECTURES``.
        batch_norms: How many the exported graph has, and how many its fold leaves.
        others: The same of constants that are added or multiplied.
        reasons: How many BatchNormalizations stay for which reason.
        verdict: What ``bnfold.verify`` says of the two graphs.
        ratio: The largest error of the fold over the original's own, both against float64; None without that.
        layers: How many BatchNorms the module has, and how many ``fold_module`` leaves.
        error: The largest difference of the two modules in float64, over the largest output.
        seconds: For exporting, folding, verifying, and for all that ``fold_module`` does.
    """

    name: str
    batch_norms: tuple[int, int]
    others: tuple[int, int]
    reasons: tuple[tuple[str, int], ...]
    verdict: str
    ratio: float | None
    layers: tuple[int, int]
    error: float
    seconds: tuple[float, float, float, float]


def build(name: str, seed: int) -> tuple[nn.Module, torch.Tensor]:
    """A network with statistics as training might leave them (every γ is positive), and an input."""
    architecture = ARCHITECTURES[name]
    torch.manual_seed(seed)
    module = architecture.build().eval()
    with torch.no_grad():
        for part in batch_norms(module):
            nn.init.normal_(part.running_mean, 0.0, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0.0, 0.3)
    return module, torch.randn(architecture.shape)


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Those of a module."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def export(module: nn.Module, image: torch.Tensor) -> ir.Model:
    """What ``torch.onnx.export`` gives, for any number of rows."""
    rows = ({0: torch.export.Dim.AUTO},)
    program = torch.onnx.export(module, (image,), dynamo=True, optimize=False, verbose=False, dynamic_shapes=rows)
    return program.model


def measure(name: str, seed: int = 0) -> Row:
    """Fold one network both ways."""
    module, image = build(name, seed)
    model, exporting = _timed(lambda: export(module, image))
    result, folding = _timed(lambda: bnfold.fold(model))
    comparison, verifying = _timed(lambda: bnfold.verify(model, result.model))
    folded, in_module = _timed(lambda: fold_module(module, image))
    gone, kept = (Counter(entry.is_batch_norm for entry in part) for part in (result.folded, result.kept))
    ratios = [figures.error_ratio for figures in comparison.outputs if figures.error_ratio is not None]
    return Row(
        name=name,
        batch_norms=(gone[True] + kept[True], kept[True]),
        others=(gone[False] + kept[False], kept[False]),
        reasons=tuple(Counter(_kind(entry) for entry in result.kept if entry.is_batch_norm).most_common()),
        verdict="equivalent" if comparison else "not equivalent",
        ratio=max(ratios, default=None),
        layers=(len(batch_norms(module)), len(batch_norms(folded.module))),
        error=distance(module, folded.module, image),
        seconds=(exporting, folding, verifying, in_module),
    )


def distance(reference: nn.Module, candidate: nn.Module, image: torch.Tensor) -> float:
    """How far two modules lie apart in float64; their weights have been rounded to float32."""
    with torch.no_grad():
        outputs = [tree_leaves(copy.deepcopy(each).double()(image.double())) for each in (reference, candidate)]
        return max(float((one - other).abs().max() / one.abs().max()) for one, other in zip(*outputs, strict=True))


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = perf_counter()
    return function(), perf_counter() - start


def _kind(kept: Any) -> str:
    """The reason of the route that came closest, without names and remarks."""
    text = f"{kept.attempts[0].op_type} {kept.attempts[0].reason}" if kept.attempts else kept.reason
    return re.sub(r" '[^']*'| \([^)]*\)", "", text)


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    heads = ("network", "from", "BatchNorms", "folded graph", "other affines", "verdict", "fold_module")
    lines = [
        f"| {' | '.join(heads)} | apart in float64 | seconds |",
        "|---|---|---:|---:|---|---|---:|---:|---:|",
    ]
    for row in rows:
        architecture = ARCHITECTURES[row.name]
        cells = (
            f"{row.name}: {architecture.about}",
            architecture.package,
            str(row.batch_norms[0]),
            str(row.batch_norms[1]),
            f"{row.others[0]} → {row.others[1]}" if row.others[0] else "none",
            f"{row.verdict}, {'by a tolerance' if row.ratio is None else f'{row.ratio:.2f}'}",
            str(row.layers[1]),
            f"{row.error:.0e}",
            " + ".join(f"{seconds:.0f}" for seconds in row.seconds),
        )
        lines.append(f"| {' | '.join(cells)} |")
    kept = [f"- {row.name}: {count} stay: {reason}." for row in rows for reason, count in row.reasons]
    return "\n".join([*lines, "", *(["Why some stay:", "", *kept, ""] if kept else [])])


def environment(rows: Sequence[Row]) -> str:
    """What the rows depend on besides the seed."""
    packages = dict.fromkeys(ARCHITECTURES[row.name].package for row in rows)
    versions = [f"{name} {version(name)}" for name in ("torch", *packages, "onnxruntime")]
    return ", ".join([f"bnfold {bnfold.__version__}", *versions, f"Python {platform.python_version()}"])


def write(page: Path, rows: Sequence[Row], seed: int) -> None:
    """Put the table between the two marks of the page."""
    text = page.read_text(encoding="utf-8")
    begin, end = "<!-- table -->\n", "<!-- end -->"
    head, _, rest = text.partition(begin)
    table = f"{markdown(rows)}\nSeed {seed}; {environment(rows)}.\n"
    page.write_text(f"{head}{begin}{table}{end}{rest.partition(end)[2]}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Fold all of them, print the table, and write the page if asked to."""
    parser = argparse.ArgumentParser(description="Real architectures, exported, folded and verified.")
    parser.add_argument("--networks", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} anew")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # other packages' own
    logging.disable(logging.CRITICAL)
    rows = []
    for name in options.networks:
        rows.append(measure(name, options.seed))
        print(markdown(rows[-1:]).splitlines()[2], flush=True)
    if options.write:
        write(PAGE, rows, options.seed)
    print(f"\n{markdown(rows)}\n{environment(rows)}")


if __name__ == "__main__":
    main()
