"""Pictures of one's own: a directory for each class, in a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.errors import ModelFileError
from bnfold.zoo.data.dataset import Dataset, split
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

__all__ = ["load_folder"]

_FEWEST = 2  # of a class: one to learn from and one to hold out
_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def load_folder(folder: Path) -> Dataset:
    """The pictures as [N, channels, height, width], one channel if all are grey, else three; all of one size.

    Directories are classes, in the order of their names. Names that begin with a dot, and files that are no pictures
    by their suffix, are left out.

    Raises:
        MissingDependencyError: Pillow, or scikit-learn, is not installed.
        ModelFileError: There are no two classes of two pictures, one cannot be read, or they differ in size.
    """
    require("PIL", "sklearn")
    if not folder.is_dir():
        raise ModelFileError(f"{folder}: no such directory")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [(path, label) for label, directory in enumerate(classes) for path in _pictures_in(directory)]
    labels = np.array([label for _, label in files], np.int64)
    counts = np.bincount(labels, minlength=len(classes)).tolist() if classes else []
    if len(classes) < _FEWEST or min(counts) < _FEWEST:
        found = ", ".join(f"{count} in {path.name}" for path, count in zip(classes, counts, strict=True)) or "none"
        raise ModelFileError(f"{folder}: two directories at least, of two pictures at least, are needed; found {found}")
    return split(
        _stacked([path for path, _ in files]),
        labels,
        name=f"folder:{folder.name}",
        description=f"{len(files)} pictures in {len(classes)} classes, values scaled to 0…1",
        source=f"the directory {folder.name}",
        classes=tuple(path.name for path in classes),
    )


def _pictures_in(directory: Path) -> list[Path]:
    return sorted(
        path for path in directory.iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    )


def _stacked(paths: list[Path]) -> NDArray[np.float32]:
    from PIL import Image, UnidentifiedImageError

    pictures = []
    for path in paths:
        try:
            with Image.open(path) as image:
                pictures.append(_pixels(image))
        except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ModelFileError(f"{path}: no picture can be read there: {error}") from error
        if pictures[-1].shape[:2] != pictures[0].shape[:2]:
            sizes = ["×".join(map(str, one.shape[1::-1])) for one in (pictures[-1], pictures[0])]
            raise ModelFileError(f"{path}: {sizes[0]} pixels, and {paths[0].name} has {sizes[1]}: make them one size")
    if any(one.ndim > 2 for one in pictures):
        pictures = [one if one.ndim > 2 else np.repeat(one[:, :, None], 3, axis=2) for one in pictures]  # grey too
        return (np.stack(pictures).transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32)
    return (np.stack(pictures)[:, None] / np.float32(255)).astype(np.float32)


def _pixels(image: Picture) -> NDArray[np.generic]:
    """Grey [height, width] or RGB [height, width, 3], from 0 to 255: uint8, or float32 where there are 16 bits.

    Raises:
        ValueError: Nobody says what white is.
    """
    if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PNG"):
        wide: NDArray[np.float32] = np.divide(np.asarray(image), 257, dtype=np.float32)
        return wide  # Pillow itself would cut 16 bits off at 255
    if image.mode in {"F", "I"}:
        raise ValueError(f"pixels of mode {image.mode} have no white; store 8 or 16 bits")
    return np.asarray(image.convert("L" if image.mode in {"1", "L"} else "RGB"))
