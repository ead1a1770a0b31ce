"""Train a network of the zoo: one loop, no framework.

What ``train("digits_cnn")`` should show: about 99 % on the held-out digits after 20 epochs, in two or three
seconds on one core.
"""

from __future__ import annotations

import math
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold import zoo
from bnfold.errors import BnfoldError
from bnfold.training import files
from bnfold.training.checkpoints import Checkpoint, Run, identity
from bnfold.training.norms import parse_norm, set_norms
from bnfold.training.processes import is_first, together
from bnfold.training.progress import progress_bar
from bnfold.training.result import Epoch, TrainingResult
from bnfold.training.seeding import one_seeded_thread
from bnfold.training.settings import Settings
from bnfold.training.statistics import recompute_statistics
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress
    from torch import nn

    from bnfold.zoo import Network
    from bnfold.zoo.data import Dataset
    from bnfold.zoo.tasks import Targets

__all__ = ["train"]

_ROWS_AT_ONCE = 1024  # when it is judged: activations of 60,000 images would take gigabytes


def train(
    name: str,
    *,
    output: str | os.PathLike[str] | None = None,
    data: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    epochs: int | None = None,
    seed: int = 0,
    lr: float | None = None,
    batch_size: int | None = None,
    optimizer: str | None = None,
    schedule: str | None = None,
    norm: str = "batch",
    placement: str | None = None,
    momentum: float | None = None,
    eps: float | None = None,
    exact_stats: bool = False,
    target: float | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = False,
) -> TrainingResult:
    """Train a network of the zoo and write its weights, its metrics, its curve and its card.

    On the CPU, on one thread: the same seed gives the same bytes on the same machine with the same versions. The
    weights kept are the last epoch's. The caller's random state and number of threads are left as they were.

    While it runs, ``metrics.jsonl`` gets a line an epoch, and ``checkpoint.pt`` holds what is needed to go on. The
    other files appear at the end, when the checkpoint goes. Under ``torchrun`` all processes share each batch.

    What is None is as in the network's recipe, and where that says nothing, as ``Settings`` has it.

    Args:
        name: A network of ``bnfold.zoo``.
        output: The folder to write into; ``models/NAME`` if None. It is made where missing.
        data: A data set of ``bnfold.zoo.data``, ``folder:PATH`` included; the network's own if None.
        data_dir: Where the files of ``fashion`` are, if not where Debian's package puts them.
        epochs: Passes over the training data, at least 1; mostly 20.
        seed: Of the initial weights, the dropout and the order of the batches; 0 or more.
        lr: Learning rate of the first epoch; mostly 0.05.
        batch_size: Rows a step, all processes together; at least 2, as BatchNorm has no statistics of a single row.
            Mostly 64.
        optimizer: ``sgd``, with momentum 0.9, or ``adamw``; both with a weight decay of 5e-4. Mostly ``sgd``.
        schedule: ``cosine``, from ``lr`` to 0, or ``constant``; mostly ``cosine``.
        norm: What stands where the network has BatchNorm: ``batch``, ``none``, or ``ghost:N`` for the statistics of
            groups of N rows of each batch.
        placement: ``pre`` (Linear-BN-activation), ``post`` (Linear-activation-BN) or ``input`` (BN-Linear-activation),
            where the network has them; its own if None.
        momentum: How far a batch moves the running statistics, above 0 and up to 1; the network's own if None.
        eps: What BatchNorm adds to the variance; the network's own if None.
        exact_stats: Whether the running statistics, a moving average of batches, give way at the end to those of all
            training data, layer by layer.
        target: The held-out score, 0…1, at which training ends early, and below which the result counts as failed; it
            is written anyway. The held-out data then choose the epoch, and the card says so; without a target they
            choose nothing.
        device: ``cpu``, or ``cuda``, where the same seed need not give the same bytes.
        overwrite: Replace weights or a checkpoint that are already there; an ONNX file that was exported from them
            goes with them.
        resume: Go on from the checkpoint of a run that was interrupted, to the bytes that it would have come to;
            without a checkpoint, begin.
        progress: Show a progress bar on stderr, if that is a terminal.

    Raises:
        MissingDependencyError: torch, safetensors or what brings the data is not installed.
        ModelFileError: The files of the data or the checkpoint cannot be read, or files cannot be written.
        BnfoldError: The name is unknown, the data do not fit the network, a setting makes no sense, weights or a
            checkpoint are already there, the checkpoint is of another run, or loss or score are no longer finite.
    """
    network = zoo.find(name)
    folder = Path(output) if output is not None else Path("models") / name
    settings = Settings.of(
        network.recipe,
        epochs=epochs,
        seed=seed,
        lr=lr,
        batch_size=batch_size,
        optimizer=optimizer,
        schedule=schedule,
        norm=norm,
        placement=placement,
        momentum=momentum,
        eps=eps,
        exact_stats=exact_stats,
        target=target,
        device=device,
    )
    settings.check()
    if is_first():
        files.check_folder(folder, overwrite=overwrite, resume=resume)
    require("torch", "safetensors")
    found = network.load_data(data, data_dir)
    network = network.fitted(found)
    settings.check(len(found.train_inputs))

    with (
        together(device) as processes,
        one_seeded_thread(seed, processes.device),
        progress_bar(progress and is_first()) as bar,
    ):
        checkpoint = Checkpoint(folder, identity(network, found, settings, processes), processes, resume)
        run = _fit(network, found, settings, checkpoint, bar)
        accuracy = run.history[-1].held_out_accuracy
        if exact_stats:
            accuracy = processes.first(lambda: _with_exact_statistics(network, run.module, found, settings))

        result = TrainingResult(
            network=name,
            data=found.name,
            folder=folder,
            accuracy=accuracy,
            reached=target is None or accuracy >= target,
            settings=settings,
            train_size=len(found.train_inputs),
            held_out_size=len(found.held_out_inputs),
            parameters=sum(parameter.numel() for parameter in run.module.parameters()),
            batch_norms=_batch_norms(run.module),
            epochs=tuple(run.history),
            resumed_after=run.resumed_after,
            seconds=sum(epoch.seconds for epoch in run.history),
            command=_command(network, found, settings, processes.count),
            versions=files.versions(),
        )
        processes.first(lambda: files.write(run.module, result, network, found))
        checkpoint.discard()
    return result


def _fit(network: Network, data: Dataset, settings: Settings, checkpoint: Checkpoint, bar: Progress) -> Run:
    """The loop."""
    import torch

    processes, norm = checkpoint.processes, parse_norm(settings.norm)
    processes.check(settings.batch_size, norm.group)
    inputs, targets = (torch.from_numpy(part).to(processes.device) for part in (data.train_inputs, data.train_targets))
    steps = len(inputs) // settings.batch_size  # a smaller last batch would have noisier statistics: left out

    module = network.build(settings.placement).to(processes.device)
    set_norms(module, norm, momentum=settings.momentum, eps=settings.eps)
    shared = processes.share(module)  # in one process, the module itself
    optimizer, schedule = settings.build_optimizer(module.parameters())
    shuffling = torch.Generator().manual_seed(settings.seed)
    run = Run(module, optimizer, schedule, shuffling)
    checkpoint.restore(run)
    task = bar.add_task(f"training {network.name}", total=settings.epochs, completed=run.resumed_after)
    while not settings.are_met(run.history):
        number, start = len(run.history) + 1, time.perf_counter()
        shared.train()
        total = 0.0
        order = torch.randperm(len(inputs), generator=shuffling)[: steps * settings.batch_size]
        for batch in order.view(steps, settings.batch_size):
            rows = processes.shard(batch, norm.group)
            share = len(rows) * processes.count / len(batch)  # 1, in one process
            loss = network.task.loss(shared(inputs[rows]), targets[rows]) * share
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
        schedule.step()
        total = processes.mean(total)
        processes.settle(module, settings.batch_size)
        scores = processes.first(lambda: _scores(network, module, data))
        if not all(map(math.isfinite, (total, *scores))):  # the last step may be the one that leads astray
            checkpoint.discard()  # it would only come to the same
            what = "score" if math.isfinite(total) else "loss"
            raise BnfoldError(f"the {what} of epoch {number} is not finite: try a smaller --lr than {settings.lr}")
        run.history.append(Epoch(number, total / steps, *scores, time.perf_counter() - start))
        checkpoint.keep(run)
        bar.update(task, advance=1, description=f"training {network.name}: {scores[1]:.1%} held out")
    return run


def _scores(network: Network, module: nn.Module, data: Dataset) -> tuple[float, float]:
    """On the training data, and on what is held out."""
    return (
        _score(network, module, data.train_inputs, data.train_targets),
        _score(network, module, data.held_out_inputs, data.held_out_targets),
    )


def _score(network: Network, module: nn.Module, inputs: NDArray[np.float32], targets: Targets) -> float:
    import torch

    device = next(module.parameters()).device
    module.eval()
    with torch.inference_mode():
        outputs = [module(rows.to(device)).cpu() for rows in torch.split(torch.from_numpy(inputs), _ROWS_AT_ONCE)]
    return network.task.score(torch.cat(outputs).numpy(), targets)


def _with_exact_statistics(network: Network, module: nn.Module, data: Dataset, settings: Settings) -> float:
    """Put the statistics of all training data into a module; its held-out score with them."""
    import torch

    device = next(module.parameters()).device
    batches = [rows.to(device) for rows in torch.split(torch.from_numpy(data.train_inputs), settings.batch_size)]
    recompute_statistics(module, batches, layer_by_layer=True)
    return _score(network, module, data.held_out_inputs, data.held_out_targets)


def _command(network: Network, data: Dataset, settings: Settings, count: int) -> str:
    """The command line that does the same again."""
    own = zoo.find(network.name)
    start = "bnfold train" if count == 1 else f"torchrun --nproc-per-node {count} -m bnfold train"
    words = [] if data.name == own.data else ["--data", shlex.quote(data.name)]
    return " ".join([start, network.name, *words, settings.options(own.recipe), "--overwrite"])


def _batch_norms(module: nn.Module) -> dict[str, int]:
    from torch.nn.modules.batchnorm import _BatchNorm

    return {name: part.num_features for name, part in module.named_modules() if isinstance(part, _BatchNorm)}
