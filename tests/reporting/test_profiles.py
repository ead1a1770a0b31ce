"""Where the time goes, for people."""

from bnfold.benchmarking import OpTime, Profile
from bnfold.reporting.profiles import blocks
from bnfold.runtime.sessions import Level


def test_operators_stand_side_by_side_with_their_sum():
    times = (OpTime("Conv", 4e-3, 4.1e-3, 53, 53), OpTime("BatchNormalization", 1e-3, 0.0, 53, 0))
    title, table = blocks([Profile("cpu", 1, Level.DISABLED, ("x 1×3",), 20, times)])
    assert title.text == (
        "Where the time goes: level disabled, cpu, 1 thread, x 1×3; median of 20 inferences, which profiling slows"
    )
    assert table.rows == (
        ("Conv", "4.000 ms", "53", "4.100 ms", "53", "-0.100 ms"),
        ("BatchNormalization", "1.000 ms", "53", "0.000 ms", "0", "+1.000 ms"),
        ("all", "5.000 ms", "106", "4.100 ms", "53", "+0.900 ms"),
    )
    assert blocks([]) == []
