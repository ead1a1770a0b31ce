"""Every claim of the lecture, in the order of their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError
from bnfold.studying.claims.covariate_shift import CovariateShift
from bnfold.studying.claims.dropout_in_series import DropoutInSeries
from bnfold.studying.claims.epsilon import Epsilon
from bnfold.studying.claims.feature_scales import FeatureScales
from bnfold.studying.claims.final_accuracy import FinalAccuracy
from bnfold.studying.claims.gradients_by_layer import GradientsByLayer
from bnfold.studying.claims.initialisation import Initialisation
from bnfold.studying.claims.learning_rates import LearningRates
from bnfold.studying.claims.placement import PlacementInTheLayer
from bnfold.studying.claims.regularisation import Regularisation
from bnfold.studying.claims.running_statistics import RunningStatistics
from bnfold.studying.claims.saturation import Saturation

if TYPE_CHECKING:
    from bnfold.studying.claim import Claim

__all__ = ["CLAIMS", "find_claim"]

CLAIMS: tuple[Claim, ...] = (
    GradientsByLayer(),
    LearningRates(),
    Initialisation(),
    Saturation(),
    FeatureScales(),
    Regularisation(),
    FinalAccuracy(),
    PlacementInTheLayer(),
    DropoutInSeries(),
    RunningStatistics(),
    Epsilon(),
    CovariateShift(),
)


def find_claim(number: int) -> Claim:
    """The claim of that number.

    Raises:
        BnfoldError: There is none; the message lists those there are.
    """
    for claim in CLAIMS:
        if claim.number == number:
            return claim
    numbers = ", ".join(f"{claim.number} ({claim.title})" for claim in CLAIMS)
    raise BnfoldError(f"no claim {number}; there are: {numbers}")
