"""Every lint, in the order of their codes.

BN1xx is about how a network is built, BN2xx about its numbers, BN3xx about how it is or was trained, and BN4xx about
what becomes of it when it is deployed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.linting.lints.behind_activation import BehindActivation
from bnfold.linting.lints.dead_channels import DeadChannels
from bnfold.linting.lints.dropout_in_series import DropoutInSeries
from bnfold.linting.lints.epsilon_out_of_range import EpsilonOutOfRange
from bnfold.linting.lints.epsilon_swamps_variance import EpsilonSwampsVariance
from bnfold.linting.lints.exploding_scale import ExplodingScale
from bnfold.linting.lints.extreme_momentum import ExtremeMomentum
from bnfold.linting.lints.half_variance import HalfVariance
from bnfold.linting.lints.int8_ranges import Int8Ranges
from bnfold.linting.lints.kept_affine import KeptAffine
from bnfold.linting.lints.lone_element import LoneElement
from bnfold.linting.lints.overflow import Overflow
from bnfold.linting.lints.redundant_bias import RedundantBias
from bnfold.linting.lints.statistics_never_updated import StatisticsNeverUpdated
from bnfold.linting.lints.training_mode import TrainingMode

if TYPE_CHECKING:
    from bnfold.linting.base import Lint

__all__ = ["LINTS"]

LINTS: tuple[Lint, ...] = (
    DropoutInSeries(),
    BehindActivation(),
    RedundantBias(),
    EpsilonOutOfRange(),
    EpsilonSwampsVariance(),
    DeadChannels(),
    ExplodingScale(),
    Overflow(),
    HalfVariance(),
    StatisticsNeverUpdated(),
    TrainingMode(),
    ExtremeMomentum(),
    LoneElement(),
    KeptAffine(),
    Int8Ranges(),
)
