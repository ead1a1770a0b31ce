"""What the certificate comes to, as checks: of the structure, and of the weights."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bnfold.verifying.certificate import Finding
from bnfold.verifying.comparison import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bnfold.folding import FoldResult
    from bnfold.verifying.certificate import Certificate, WeightCheck

__all__ = ["check_structure", "check_weights"]

# A fold in float32 rounds about six times on the way to a weight, where ours rounds once: no worse than its reference,
# which rounds as often. What is further off was computed otherwise.
_ROUNDINGS = 16.0
_MOST_SHOWN = 4


def check_weights(certificate: Certificate, *, is_ours: bool, decides: bool = True) -> list[Check]:
    """One check for each weight that is wrong, and one that counts the others; none where no weight changed.

    Args:
        certificate: What was found.
        is_ours: Whether the candidate is a fold of ours, whose weights are rounded once; others may round often.
        decides: Whether a wrong weight is a failure: not where a tolerance was asked for.
    """
    if certificate.reason:
        return [Check("certificate", Verdict.NOTE, f"no weight is certified: {certificate.reason}")]
    if not certificate.weights:
        return []
    wrong, open_ = certificate.of(Finding.WRONG), certificate.of(Finding.OPEN)
    checks = [
        Check(f"weight '{one.constant}'", verdict, str(one), one.ulps, 1.0)
        for one in wrong
        for verdict in [_verdict(one, is_ours=is_ours) if decides else Verdict.WARN]
    ]
    certified = certificate.of(Finding.CERTIFIED)
    worst = max((one.ulps or 0.0 for one in certified), default=None)
    message = f"{len(certified)} of {len(certificate.weights)} rewritten weights are certified"
    if open_:
        message += f"; {_listed([str(one) for one in open_])}"
    checks.append(Check("certificate", Verdict.NOTE if open_ or wrong else Verdict.PASS, message, worst, 1.0))
    return checks


def _verdict(weight: WeightCheck, *, is_ours: bool) -> Verdict:
    is_rounded = weight.ulps is not None and min(weight.ulps, weight.terms) <= _ROUNDINGS
    return Verdict.WARN if is_rounded and not is_ours else Verdict.FAIL


def check_structure(certificate: Certificate, fold: FoldResult | None) -> list[Check]:
    """That only what the fold names is gone or has other weights; without a fold, what is otherwise."""
    if certificate.reason or not (certificate.removed or certificate.weights or certificate.lost):
        return []
    if fold is None:
        return [Check("structure", Verdict.NOTE, _difference(certificate))]
    named = {entry.node for entry in fold.folded} | {node for entry in fold.merged for node in entry.nodes}
    taken = {one.node for entry in fold.folded for one in entry.into} | {entry.into.node for entry in fold.merged}
    # Of a row of constants that folded as one, the account names one.
    removed = [name for name, kind in certificate.removed if kind == "BatchNormalization" and name not in named]
    changed = [one.node for one in certificate.weights if one.node not in taken | set(certificate.added)]
    if certificate.lost or not (removed or changed):
        verdict, note = Verdict.PASS, f"only what the fold names changed: {_difference(certificate)}"
        if certificate.lost:
            verdict, note = Verdict.NOTE, _difference(certificate)
        return [Check("structure", verdict, note)]
    message = f"the fold does not name {_listed(dict.fromkeys((*removed, *changed)))}, which changed"
    return [Check("structure", Verdict.FAIL, message)]


def _difference(certificate: Certificate) -> str:
    parts = [f"{count} {kind} removed" for kind, count in Counter(kind for _, kind in certificate.removed).items()]
    if certificate.added:
        parts.append(f"{len(certificate.added)} constant terms added")
    parts.append(f"{len({one.node for one in certificate.weights})} nodes with other weights")
    if certificate.lost:
        kinds = Counter(kind for _, kind in certificate.lost)
        parts.append(f"not found: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")
    return ", ".join(parts)


def _listed(items: Iterable[str]) -> str:
    listed: Sequence[str] = list(items)
    more = len(listed) - _MOST_SHOWN
    return "; ".join(listed) if more <= 0 else f"{'; '.join(listed[:_MOST_SHOWN])}; and {more} more"
