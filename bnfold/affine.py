"""What BatchNormalization is at inference: an affine map, ``y = scale·x + shift``, in float64.

``scale`` and ``shift`` are arrays that broadcast against the tensor they act on: as many axes as the tensor, each of
size 1 or of the tensor's size. An axis and a vector would not do: Flatten turns one channel axis into a run of
features, and a channel shuffle splits it in two.

Sources: Ioffe and Szegedy, "Batch Normalization", 2015 (https://arxiv.org/abs/1502.03167), section 3.1; the
operator page https://onnx.ai/onnx/operators/onnx__BatchNormalization.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

__all__ = ["DUST", "Affine"]

# Two routes to the same map differ in the last bits of float64; anything further apart is another map.
DUST = 1e-12


@dataclass(frozen=True, eq=False)
class Affine:
    """``y = scale·x + shift`` on a tensor of ``rank`` axes.

    Attributes:
        scale: float64, ``rank`` axes, broadcastable against the tensor; an axis along which nothing varies has size 1.
        shift: The same for what is added.
    """

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _squeeze_constant_axes(self.scale))
        object.__setattr__(self, "shift", _squeeze_constant_axes(self.shift))

    @classmethod
    def identity(cls, rank: int) -> Affine:
        """The map that changes nothing."""
        return cls(np.ones((1,) * rank), np.zeros((1,) * rank))

    @classmethod
    def per_channel(cls, scale: ArrayLike, shift: ArrayLike, *, rank: int, axis: int = 1) -> Affine:
        """One scale and one shift for each index of ``axis``; scalars and vectors of that axis's size."""
        return cls(_along(scale, rank, axis), _along(shift, rank, axis))

    @classmethod
    def from_batch_norm(
        cls, scale: ArrayLike, bias: ArrayLike, mean: ArrayLike, var: ArrayLike, epsilon: float, *, rank: int
    ) -> Affine:
        """The affine of a BatchNormalization: four vectors of C numbers, the channel axis being the second."""
        # The parameters may be float16, where var + epsilon can round to 0: widen before anything else.
        gamma, beta, mu, variance = (np.asarray(array, np.float64) for array in (scale, bias, mean, var))
        with np.errstate(all="ignore"):  # nan and inf are looked for by the caller, who knows the node's name
            factor = gamma / np.sqrt(variance + epsilon)
            return cls.per_channel(factor, beta - mu * factor, rank=rank)

    @property
    def rank(self) -> int:
        """How many axes the tensor has."""
        return self.scale.ndim

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes, exactly."""
        return bool((self.scale == 1).all() and (self.shift == 0).all())

    @property
    def is_invertible(self) -> bool:
        """Whether there is a map back: no scale is 0, nor so close to it that the inverse overflows."""
        return self.find_inverse() is not None

    @property
    def is_finite(self) -> bool:
        """Whether every number is finite."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())

    @cached_property
    def axes(self) -> frozenset[int]:
        """The axes along which the scale or the shift varies."""
        shapes = enumerate(zip(self.scale.shape, self.shift.shape, strict=True))
        return frozenset([axis for axis, (scales, shifts) in shapes if scales > 1 or shifts > 1])

    def inverse(self) -> Affine:
        """The map back.

        Raises:
            ZeroDivisionError: A scale is 0.
        """
        inverse = self.find_inverse()
        if inverse is None:
            raise ZeroDivisionError("an affine with a scale of 0 has no inverse")
        return inverse

    def find_inverse(self) -> Affine | None:
        """The map back; None where there is none: see ``is_invertible``."""
        return self._inverse

    @cached_property
    def _inverse(self) -> Affine | None:
        with np.errstate(all="ignore"):
            scale, shift = 1 / self.scale, -self.shift / self.scale
        return Affine(scale, shift) if np.isfinite(scale).all() and np.isfinite(shift).all() else None

    def then(self, following: Affine) -> Affine:
        """This map, and ``following`` after it."""
        return Affine(following.scale * self.scale, following.scale * self.shift + following.shift)

    def map(self, function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Affine:
        """The affine of a tensor whose axes were moved: ``function`` is applied to both arrays."""
        return Affine(function(self.scale), function(self.shift))

    def vectors(self, axis: int, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Scale and shift as vectors of ``size`` along ``axis``.

        None when they vary along another axis, or do not have that size.
        """
        axis %= self.rank
        if not self.axes <= {axis} or not {self.scale.size, self.shift.size} <= {1, size}:
            return None
        return _spread(self.scale, size), _spread(self.shift, size)

    def is_close(self, other: Affine) -> bool:
        """Whether both are the same map, up to the last bits of float64."""
        return _is_close(self.scale, other.scale) and _is_close(self.shift, other.shift)


def _along(array: ArrayLike, rank: int, axis: int) -> NDArray[np.float64]:
    vector = np.asarray(array, np.float64).reshape(-1)
    shape = [1] * rank
    shape[axis] = vector.size
    return vector.reshape(shape)


def _spread(array: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    vector = array.reshape(-1)
    return vector if vector.size == size else np.broadcast_to(vector, (size,))


def _is_close(left: NDArray[np.float64], right: NDArray[np.float64]) -> bool:
    return bool(np.all(np.abs(left - right) <= DUST * np.maximum(np.abs(left), np.abs(right))))


def _squeeze_constant_axes(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axes along which nothing varies get size 1: then "varies along" can be read off the shape."""
    if array.size == 1:
        return array
    for axis, size in enumerate(array.shape):
        if size > 1 and (array == (first := array.take([0], axis))).all():
            array = first
    return array
