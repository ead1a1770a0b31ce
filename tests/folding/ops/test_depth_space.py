"""DepthToSpace and SpaceToDepth: DCR and CRD, both ways; and the channel shuffle, which other rules carry."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.conditions import assert_folds, assert_kept
from tests.helpers.models import constant, model_of, set_constant

FORWARD = """
    g (float[N,12,3,3] x, float[2,3,1,1] w, BN12) => (float[N,2,6,6] y) {
        n = BatchNormalization (x, scale, bias, mean, var)
        d = DepthToSpace <blocksize = 2, mode = "MODE"> (n)
        y = Conv (d, w)
    }
"""
BACK_FROM_THE_DEPTH = """
    g (float[N,2,4,4] x, float[3,2,1,1] w, BN12) => (float[N,12,2,2] y) {
        h = Conv (x, w)
        d = SpaceToDepth <blocksize = 2> (h)
        y = BatchNormalization (d, scale, bias, mean, var)
    }
"""
BROKEN = {
    "forward_dcr": (FORWARD.replace("MODE", "DCR"), "for which the affine is not the same"),
    "forward_crd": (FORWARD.replace("MODE", "CRD"), "for which the affine is not the same"),
    "back_from_the_depth": (BACK_FROM_THE_DEPTH, "for which the affine is not the same"),
    "along_a_spatial_axis": (
        """
        g (float[N,6,4,6] x, float[2,4,1,1] w, BN6) => (float[N,2,3,8] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [0,2,1,3]> (n)
            d = DepthToSpace <blocksize = 2> (t)
            y = Identity (d)
        }
        """,
        "moves blocks along the axes [2], along which the affine varies",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        (FORWARD.replace("MODE", "DCR"), lambda vector: np.tile(vector[:3], 4)),
        (FORWARD.replace("MODE", "CRD"), lambda vector: np.repeat(vector[:3], 4)),
        (BACK_FROM_THE_DEPTH, lambda vector: np.tile(vector[:3], 4)),
    ],
)
def test_an_affine_that_is_the_same_for_each_block_is_carried_from_the_deep_side(text, repeated) -> None:
    model = model_of(text)
    for name in ("scale", "bias", "mean", "var"):
        set_constant(model, model.graph.initializers[name], repeated(constant(model, name)))
    assert_folds(model)


def test_depth_to_space_had_no_mode_before_opset_11() -> None:
    assert_folds(
        model_of(
            """
        g (float[N,2,3,3] x, float[12,2,1,1] w, BN3) => (float[N,3,6,6] y) {
            h = Conv (x, w)
            d = DepthToSpace <blocksize = 2> (h)
            y = BatchNormalization (d, scale, bias, mean, var)
        }
    """,
            opset=10,
            ir_version=8,
        )
    )


@pytest.mark.parametrize("side", ["in front", "behind"])
def test_a_channel_shuffle_carries_both_ways(side) -> None:
    shuffle = """
            apart = Constant <value_ints = [0, 2, 3, 4, 4]> ()
            together = Constant <value_ints = [0, 6, 4, 4]> ()
            r = Reshape (h, apart)
            t = Transpose <perm = [0,2,1,3,4]> (r)
            s = Reshape (t, together)
    """
    behind = f"""
        g (float[N,6,4,4] x, float[6,3,1,1] w, BN6) => (float[N,6,4,4] y) {{
            h = Conv <group = 2> (x, w)
            {shuffle}
            y = BatchNormalization (s, scale, bias, mean, var)
        }}
    """
    in_front = f"""
        g (float[N,6,4,4] x, float[6,3,1,1] w, BN6) => (float[N,6,4,4] y) {{
            h = BatchNormalization (x, scale, bias, mean, var)
            {shuffle}
            y = Conv <group = 2> (s, w)
        }}
    """
    assert_folds(model_of(behind if side == "behind" else in_front))
