"""One rule makes verdicts of parts."""

import pytest

from bnfold.studying.runs import Runs
from bnfold.studying.verdict import Limit, Part, Verdict, verdict_of


def parts(text):
    """``Yyn``: a core part that holds, another that does, one that does not; N is a core part that does not."""
    return [Part("", "", letter in "Yy", core=letter.isupper()) for letter in text]


@pytest.mark.parametrize(("text", "verdict"), [
    ("y", Verdict.REPRODUCES), ("Yyy", Verdict.REPRODUCES), ("YY", Verdict.REPRODUCES),
    ("Yn", Verdict.PARTLY), ("ny", Verdict.PARTLY), ("YYnny", Verdict.PARTLY),
    ("n", Verdict.DOES_NOT), ("nn", Verdict.DOES_NOT), ("Nyyy", Verdict.DOES_NOT), ("YN", Verdict.DOES_NOT),
])  # fmt: skip
def test_all_hold_or_none_or_some(text, verdict) -> None:
    assert verdict_of(parts(text)) is verdict


def test_a_quick_run_has_the_laxer_limit() -> None:
    assert Limit(2, quick=1.5).of(Runs({})) == 2
    assert Limit(2, quick=1.5).of(Runs({}, quick=True)) == 1.5
