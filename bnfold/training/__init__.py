"""``train(name) → TrainingResult``: one plain loop, and the files it leaves behind.

The files, in the order in which to read them:

    loop.py          the loop, from top to bottom
    settings.py      what it is told, checked before any work
    norms.py         what stands where a network has BatchNorm: ghost.py, synced.py, or nothing
    processes.py     several processes that share each batch, as torchrun starts them
    checkpoints.py   what survives a kill, and how a run goes on from there
    progress.py      the bar
    result.py        what a run yields
    files.py         weights.safetensors, metrics.json, curve.svg (curve.py) and card.md, in one go
    rebuilding.py    the network that such files are of, for those who use its weights

For any module, also without this loop (``examples/own_network/`` shows each):

    statistics.py   exact population statistics
    norms.py        BatchNorms replaced: by ghosts, or by nothing
    ghost.py        BatchNorm over parts of a batch (any_rank.py: of any number of axes, as the next)
    noise.py        BatchNorm with unsteady noise behind it
    batchwise.py    inference by the statistics of the batch
    shift.py        running statistics against what the input is like
    covariate.py    how gradients turn because the layers in front have moved
    probes.py       gradients by layer, and saturated activations
    hooks.py        what all of these look at
"""

from bnfold.training.loop import train
from bnfold.training.result import Epoch, TrainingResult
from bnfold.training.statistics import recompute_statistics

__all__ = ["Epoch", "TrainingResult", "recompute_statistics", "train"]
