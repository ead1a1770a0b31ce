"""Data derived from other data: images with noise, clouds of points, pairs. The same ones each time.

Each function takes a data set of images and gives another. Of the two parts each is made from its own rows, so that
what is held out stays unseen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bnfold.errors import BnfoldError
from bnfold.zoo.data import times

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnfold.zoo.data import Dataset
    from bnfold.zoo.tasks import Targets

__all__ = ["NOISE", "PAIRS", "POINTS", "noisy", "paired", "same", "scattered"]

NOISE = 0.25  # the standard deviation of what ``noisy`` adds, where ink is 0 to 1
POINTS = 64  # that ``scattered`` draws from an image
CLOUDS = 8  # that it draws of each image to train on: of few clouds a network learns the points, not the digit
PAIRS = 4  # that ``paired`` makes with each image in front
_AT_ONCE = 2**24  # possible pairs, of which 60,000 images have billions
_TRAIN, _HELD_OUT = 1, 2  # seeds


def same(data: Dataset) -> Dataset:
    """The images as their own targets: for an autoencoder."""
    return replace(
        data,
        description=f"{data.description}; each is its own target",
        train_targets=data.train_inputs,
        held_out_targets=data.held_out_inputs,
    )


def noisy(data: Dataset) -> Dataset:
    """Images with Gaussian noise of standard deviation ``NOISE``, and the clean ones as targets."""
    return replace(
        data,
        description=f"{data.description}; with Gaussian noise of standard deviation {NOISE}, the clean ones as targets",
        train_inputs=_with_noise(data.train_inputs, _TRAIN),
        train_targets=data.train_inputs,
        held_out_inputs=_with_noise(data.held_out_inputs, _HELD_OUT),
        held_out_targets=data.held_out_inputs,
    )


def _with_noise(images: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).standard_normal(images.shape, dtype=np.float32)
    return images + np.float32(NOISE) * noise


def scattered(data: Dataset) -> Dataset:
    """``POINTS`` points drawn from the ink of each image: float32 [N, 2, POINTS], x and y between −1 and 1.

    A pixel is drawn as often as it is dark, and the point lies anywhere in it. Their order means nothing. To train on,
    ``CLOUDS`` clouds are drawn of each image.

    Raises:
        BnfoldError: They are no grey images.
    """
    shape = data.train_inputs.shape[1:]
    if len(shape) != 3 or shape[0] != 1:
        raise BnfoldError(
            f"points are drawn from grey images of 1×height×width; {data.name} has inputs of {times(shape)}"
        )
    return replace(
        data,
        description=f"{data.description}; {POINTS} points drawn from the ink of each, as x and y between −1 and 1, "
        f"and drawn {CLOUDS} times to train on",
        train_inputs=_points(np.concatenate([data.train_inputs] * CLOUDS), _TRAIN),
        train_targets=np.concatenate([data.train_targets] * CLOUDS),
        held_out_inputs=_points(data.held_out_inputs, _HELD_OUT),
    )


def _points(images: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    height, width = images.shape[-2:]
    ink = images.reshape(len(images), -1).astype(np.float64)
    ink /= ink.sum(axis=1, keepdims=True)
    pixels = np.stack([random.choice(ink.shape[1], POINTS, p=row) for row in ink])
    x, y = (
        (pixels % width + random.random(pixels.shape)) / width,
        (pixels // width + random.random(pixels.shape)) / height,
    )
    return (2 * np.stack([x, y], axis=1) - 1).astype(np.float32)


def paired(data: Dataset) -> Dataset:
    """Pairs of images: float32 [PAIRS·N, 2, …], and 1 where both are of one class, which is so for half of them."""
    train_inputs, train_targets = _pairs(data.train_inputs, data.train_targets, _TRAIN)
    held_out_inputs, held_out_targets = _pairs(data.held_out_inputs, data.held_out_targets, _HELD_OUT)
    return replace(
        data,
        description=f"{data.description}; in pairs, half of them of one class, {PAIRS} with each in front",
        train_inputs=train_inputs,
        train_targets=train_targets,
        held_out_inputs=held_out_inputs,
        held_out_targets=held_out_targets,
        classes=("different", "same"),
    )


def _pairs(images: NDArray[np.float32], labels: Targets, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    first = np.tile(np.arange(len(images)), PAIRS)
    wanted = np.arange(len(first)) // len(images) % 2  # by turns of all images: different, same, …
    second = np.empty_like(first)
    for some in np.array_split(np.arange(len(first)), -(-len(first) * len(images) // _AT_ONCE)):
        alike = labels[first[some]][:, None] == labels[None]
        fitting = alike == (wanted[some][:, None] == 1)
        fitting[np.arange(len(some)), first[some]] = False  # an image beside itself would be too easy
        # A random number for each possible partner; the one that fits and has the largest is taken.
        second[some] = np.where(fitting, random.random(fitting.shape), -1).argmax(1)
    return np.stack([images[first], images[second]], axis=1), wanted.astype(np.int64)
