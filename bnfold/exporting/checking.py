"""Does the ONNX model say what the module says? The graph against the module, onnxruntime against PyTorch."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from bnfold.agreement import error_ratio, nonfinite_mismatches, scaled_error
from bnfold.errors import ExportError
from bnfold.exporting.conversion import inference
from bnfold.exporting.result import Agreement
from bnfold.runtime.isolation import run_isolated
from bnfold.runtime.sessions import Level, Refusal

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray
    from torch import nn

    from bnfold.zoo import Network
    from bnfold.zoo.data import Dataset

    Batches = list[NDArray[np.float32]]

__all__ = ["check_agreement", "check_graph", "count_batch_norms"]

_LIMIT = 2.0  # of the error ratio: rounding in another order stays near 1, a lost epsilon is far above
_SAME_SCORE = 1e-6  # a row of 450 that flips is 2e-3; the last bits of a squared error are far below
_ROWS = 64  # of random input: the ratio of a few numbers would be luck


def check_graph(model: ir.Model, module: nn.Module, network: Network) -> None:
    """Every BatchNorm of the module is there and in inference mode, and the interface is as promised.

    Raises:
        ExportError: It is not.
    """
    nodes = [node for node in model.graph.all_nodes() if node.op_type == "BatchNormalization"]
    found = len({node.inputs[1] for node in nodes})  # told apart by their scales: one called twice is two nodes
    expected = count_batch_norms(module)
    if found != expected:
        raise ExportError(f"the module has {expected} BatchNorms, its export {found} BatchNormalizations")
    if training := [node.name for node in nodes if node.attributes.get_int("training_mode", 0)]:
        raise ExportError(f"exported in training mode: {', '.join(map(str, training))}")
    for value, name in ((model.graph.inputs, network.input_name), (model.graph.outputs, network.output_name)):
        names = [item.name for item in value]
        if names != [name]:
            raise ExportError(f"the graph has {names} where ['{name}'] was asked for")
        shape = value[0].shape
        if shape is None or isinstance(shape[0], int) or shape[0].value != "batch":
            raise ExportError(f"the first axis of {name} is not the symbolic 'batch': {shape}")


def count_batch_norms(module: nn.Module) -> int:
    """How many BatchNorm layers of any rank a module has."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return sum(isinstance(part, _BatchNorm) for part in module.modules())


def check_agreement(
    path: Path, module: nn.Module, network: Network, data: Dataset
) -> tuple[tuple[Agreement, ...], float]:
    """Run the file in onnxruntime and the module in PyTorch, and judge them by the module in float64.

    Returns:
        How well they agree on random rows one by one, on random rows at once, and on the held-out rows; and
        the score that both reach on the held-out rows.

    Raises:
        ExportError: They disagree.
        ExecutionError: onnxruntime cannot run the file.
    """
    random = network.example_input(_ROWS)
    cases: list[tuple[str, Batches]] = [
        ("random", np.split(random, _ROWS)),
        ("random", [random]),
        ("held-out", [data.held_out_inputs]),
    ]
    candidates = _run_onnxruntime(path, network, [batches for _, batches in cases])
    exact = copy.deepcopy(module).double()
    agreement = []
    for (inputs, batches), candidate in zip(cases, candidates, strict=True):
        reference = _run_torch(module, batches)
        agreement.append(_judge(inputs, batches, reference, candidate, _run_torch(exact, batches)))
    scores = [network.task.score(outputs, data.held_out_targets) for outputs in (reference, candidate)]
    if not abs(scores[0] - scores[1]) <= _SAME_SCORE:
        name = network.task.score_name
        raise ExportError(f"held-out {name}: PyTorch reaches {scores[0]:.2%}, onnxruntime {scores[1]:.2%}")
    return tuple(agreement), scores[1]


def _judge(
    inputs: str,
    batches: Batches,
    reference: NDArray[np.generic],
    candidate: NDArray[np.generic],
    exact: NDArray[np.generic],
) -> Agreement:
    rows, batch = sum(map(len, batches)), len(batches[0])
    where = f"on {rows} {inputs} rows in batches of {batch}"
    if (candidate.shape, candidate.dtype) != (reference.shape, reference.dtype):
        raise ExportError(f"{where} PyTorch gives {reference.shape}, onnxruntime {candidate.shape}")
    ratio = error_ratio(reference, candidate, exact.astype(np.float64))
    if not ratio <= _LIMIT or nonfinite_mismatches(reference, candidate):
        raise ExportError(
            f"onnxruntime and PyTorch disagree {where}: onnxruntime's error is {ratio:.3g} times PyTorch's "
            f"own (at most {_LIMIT:g}), scaled error {scaled_error(reference, candidate):.3g}"
        )
    return Agreement(inputs, rows, batch, ratio, scaled_error(reference, candidate))


def _run_onnxruntime(path: Path, network: Network, cases: list[Batches]) -> list[NDArray[np.generic]]:
    """The outputs of each case, its batches joined; one child process for all."""
    feeds = [{network.input_name: batch} for batches in cases for batch in batches]
    outputs = run_isolated(
        "bnfold.runtime.sessions:run",
        {"path": path, "level": Level.DISABLED, "feeds": feeds},
        subject=path.name,
    )
    for output in outputs:
        if isinstance(output, Refusal):
            raise ExportError(f"onnxruntime does not take the input that PyTorch takes: {output.reason}")
    remaining = iter(outputs)
    return [np.concatenate([next(remaining)[network.output_name] for _ in batches]) for batches in cases]


def _run_torch(module: nn.Module, batches: Batches) -> NDArray[np.generic]:
    import torch

    dtype = next(module.parameters()).dtype
    with inference(module), torch.inference_mode():
        outputs = [module(torch.from_numpy(batch).to(dtype)).numpy() for batch in batches]
    return np.concatenate(outputs)
