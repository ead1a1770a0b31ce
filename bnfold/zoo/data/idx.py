"""Fashion-MNIST, in the IDX files in which it is published; Debian packages them.

An IDX file begins with two zeros, the code of its type, the number of its axes, and their lengths as big-endian
integers (http://yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bnfold.errors import ModelFileError
from bnfold.zoo.data.dataset import Dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["is_installed", "load", "read_idx"]

_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_MAGIC = b"\x00\x00\x08"  # unsigned bytes


def load(name: str, folder: Path | None) -> Dataset:
    """The garments, as images [N, 1, 28, 28], in the split in which they are published.

    Raises:
        ModelFileError: A file is not there, or is no such file.
    """
    where = folder or _DEBIAN
    arrays = [
        read_idx(_find(where, f"{part}-{what}"), axes)
        for part in ("train", "t10k")
        for what, axes in (("images-idx3-ubyte", 3), ("labels-idx1-ubyte", 1))
    ]
    for images, labels in (arrays[:2], arrays[2:]):
        if len(images) != len(labels) or labels.max(initial=0) >= len(_CLASSES):
            raise ModelFileError(f"{where}: {len(images)} images with {len(labels)} labels up to {labels.max()}")
    train, held_out = ((images[:, None] / np.float32(255)).astype(np.float32) for images in arrays[::2])
    return Dataset(
        name=name,
        description="70,000 photographs of garments of 28×28 pixels in ten classes, grey values scaled to 0…1",
        source="H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, 2017, https://arxiv.org/abs/1708.07747, MIT",
        train_inputs=train,
        train_targets=arrays[1].astype(np.int64),
        held_out_inputs=held_out,
        held_out_targets=arrays[3].astype(np.int64),
        classes=_CLASSES,
    )


def is_installed() -> bool:
    """Whether Debian's package is there, or something in its place."""
    return any((_DEBIAN / f"train-images-idx3-ubyte{suffix}").is_file() for suffix in ("", ".gz"))


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise ModelFileError(
        f"{folder}: no {name} or {name}.gz there: 'apt install dataset-fashion-mnist' brings it on Debian and Ubuntu; "
        "elsewhere give the folder that has it with --data-dir"
    )


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """The array of an IDX file of bytes, compressed or not.

    Raises:
        ModelFileError: It is no such file, has other axes, or is cut short.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ModelFileError(f"{path}: cannot be read: {error}") from error
    start = 4 + 4 * axes
    if content[:3] != _MAGIC or content[3:4] != bytes([axes]) or len(content) < start:
        raise ModelFileError(f"{path}: is no IDX file of bytes with {axes} axes")
    shape = tuple(np.frombuffer(content, ">u4", axes, 4).tolist())
    data = np.frombuffer(content, np.uint8, offset=start)
    if data.size != np.prod(shape, dtype=np.int64):
        raise ModelFileError(f"{path}: holds {data.size} bytes, and {'×'.join(map(str, shape))} are announced")
    return data.reshape(shape)
