"""The rules, one op family a file. A new op is one new file here and one line below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.folding.ops.absolute import AbsoluteRule
from bnfold.folding.ops.add import AddRule
from bnfold.folding.ops.batch_normalization import BatchNormalizationRule
from bnfold.folding.ops.cast import CastRule
from bnfold.folding.ops.clip import ClipRule
from bnfold.folding.ops.concat import ConcatRule
from bnfold.folding.ops.control_flow import IfRule, LoopRule
from bnfold.folding.ops.conv import ConvRule
from bnfold.folding.ops.conv_transpose import ConvTransposeRule
from bnfold.folding.ops.deform_conv import DeformConvRule
from bnfold.folding.ops.depth_space import DepthSpaceRule
from bnfold.folding.ops.dequantize_linear import DequantizeLinearRule
from bnfold.folding.ops.einsum import EinsumRule
from bnfold.folding.ops.expand import ExpandRule
from bnfold.folding.ops.gather import GatherRule
from bnfold.folding.ops.gemm import GemmRule
from bnfold.folding.ops.grid_sample import GridSampleRule
from bnfold.folding.ops.hard_sigmoid import HardSigmoidRule
from bnfold.folding.ops.identity import IdentityRule
from bnfold.folding.ops.invariant import ComparingRule
from bnfold.folding.ops.leaky_relu import LeakyReluRule
from bnfold.folding.ops.matmul import MatMulRule
from bnfold.folding.ops.mul import MulRule
from bnfold.folding.ops.negation import NegationRule
from bnfold.folding.ops.nonlinear import NonlinearRule
from bnfold.folding.ops.normalization import NormalizationRule
from bnfold.folding.ops.pad import PadRule
from bnfold.folding.ops.pool import PoolRule
from bnfold.folding.ops.prelu import PReluRule
from bnfold.folding.ops.recurrent import RecurrentRule
from bnfold.folding.ops.reduce import ReduceRule
from bnfold.folding.ops.relu import ReluRule
from bnfold.folding.ops.reshape import ReshapeRule
from bnfold.folding.ops.resize import ResizeRule
from bnfold.folding.ops.shape import ShapeRule
from bnfold.folding.ops.slice import SliceRule
from bnfold.folding.ops.sort import TopKRule
from bnfold.folding.ops.sums import SumRule
from bnfold.folding.ops.transpose import TransposeRule
from bnfold.folding.ops.where import WhereRule

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.ops.rule import Rule

__all__ = ["RULES", "find_rule"]

RULES: tuple[Rule, ...] = (
    AbsoluteRule(),
    AddRule(),
    BatchNormalizationRule(),
    CastRule(),
    ClipRule(),
    ComparingRule(),
    ConcatRule(),
    ConvRule(),
    ConvTransposeRule(),
    DeformConvRule(),
    DepthSpaceRule(),
    DequantizeLinearRule(),
    EinsumRule(),
    ExpandRule(),
    GatherRule(),
    GemmRule(),
    GridSampleRule(),
    HardSigmoidRule(),
    IdentityRule(),
    IfRule(),
    LeakyReluRule(),
    LoopRule(),
    MatMulRule(),
    MulRule(),
    NegationRule(),
    NonlinearRule(),
    NormalizationRule(),
    PReluRule(),
    PadRule(),
    PoolRule(),
    RecurrentRule(),
    ReduceRule(),
    ReluRule(),
    ReshapeRule(),
    ResizeRule(),
    ShapeRule(),
    SliceRule(),
    SumRule(),
    TopKRule(),
    TransposeRule(),
    WhereRule(),
)

_BY_OP_TYPE = {op_type: rule for rule in RULES for op_type in rule.op_types}


def find_rule(node: ir.Node) -> Rule | None:
    """The rule of a node's op; None for ops that have none, and for all ops of other domains."""
    return _BY_OP_TYPE.get(node.op_type) if node.domain == "" else None
