"""What the certificate comes to, as checks: of the structure, and of the weights."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bnfold.verifying.certificate import Finding
from bnfold.verifying.comparison import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bnfold.folding import FoldResult
    from bnfold.verifying.certificate import Certificate

__all__ = ["changed_in_place", "check_structure", "check_weights"]

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
    rounded = () if is_ours else tuple(one for one in wrong if one.is_rounding)
    wrong = tuple(one for one in wrong if one not in rounded)
    checks = [
        Check(f"weight '{one.constant}'", verdict, str(one), one.ulps, 1.0)
        for one in wrong
        for verdict in [Verdict.FAIL if decides else Verdict.WARN]
    ]
    certified = certificate.of(Finding.CERTIFIED)
    worst = max((one.ulps or 0.0 for one in (*certified, *rounded)), default=None)
    message = f"{len(certified)} of {len(certificate.weights)} rewritten weights are certified"
    if excused := sum(one.is_excused for one in certified):
        message += f", {excused} of them not to 1 ulp, but to 2⁻⁴⁴ of the largest term: more float64 does not tell"
    if rounded:
        message += f"; {len(rounded)} are as a fold that rounds at each of its steps has them"
    if open_:
        message += f"; {_listed([str(one) for one in open_])}"
    unseen = any(one.is_in_body for one in open_)
    if unseen:
        message += "; a body that no input enters is not compared at all: give --inputs that do"
    verdict = Verdict.WARN if rounded or unseen else Verdict.NOTE if open_ or wrong else Verdict.PASS
    return [*checks, Check("certificate", verdict, message, worst, 1.0)]


def check_structure(certificate: Certificate, fold: FoldResult | None) -> list[Check]:
    """That only what the fold names is gone or has other weights; without a fold, what is otherwise."""
    other = bool(certificate.changes)
    if certificate.reason or not (certificate.removed or certificate.joined or certificate.weights or other):
        return []
    if fold is None or not certificate.is_named:  # the account names a node of a function once, for all of its calls
        return [Check("structure", Verdict.NOTE, _difference(certificate))]
    named = {entry.node for entry in fold.folded}
    joined = {node for entry in fold.merged for node in (*entry.nodes, entry.sum)}
    joined |= {node for entry in fold.folded for node in entry.through}  # the sum of one that went into its sibling
    taken = {one.node for entry in fold.folded for one in entry.into} | {entry.into.node for entry in fold.merged}
    numbers: dict[str, set[str]] = {}
    for one in (*(one for entry in fold.folded for one in entry.into), *(entry.into for entry in fold.merged)):
        numbers.setdefault(one.node, set()).update(one.constants)
    # Of a row of constants that folded as one, the account names one.
    removed = [name for name, kind in certificate.removed if kind == "BatchNormalization" and name not in named]
    removed += [name for name, _ in certificate.joined if name not in named | joined]
    weights = [one for one in certificate.weights if one.is_changed and not one.is_in_body]
    changed = [one.node for one in weights if one.node not in taken | set(certificate.added)]
    changed += [
        f"{one.constant} of {one.node}" for one in weights if one.constant not in numbers.get(one.node, {one.constant})
    ]
    bodies = len(weights) < sum(one.is_changed for one in certificate.weights)  # where nodes are not paired
    if other or (bodies and not (removed or changed)):  # repairs; or what no fold does
        return [Check("structure", Verdict.NOTE, _difference(certificate))]
    if not (removed or changed):
        return [Check("structure", Verdict.PASS, f"only what the fold names changed: {_difference(certificate)}")]
    message = f"the fold does not name {_listed(dict.fromkeys((*removed, *changed)))}, which changed"
    return [Check("structure", Verdict.FAIL, message)]


def _difference(certificate: Certificate) -> str:
    parts = [f"{count} {kind} removed" for kind, count in Counter(kind for _, kind in certificate.removed).items()]
    if certificate.joined:
        kinds = Counter(kind for _, kind in certificate.joined)
        parts.append(f"joined with a convolution: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")
    if certificate.added:
        parts.append(f"{len(certificate.added)} constant terms added")
    parts.append(f"{len({one.node for one in certificate.weights})} nodes with other weights")
    for words, nodes in (
        ("not found", certificate.lost),
        ("new", certificate.extra),
    ):
        kinds = Counter(kind for _, kind in nodes)
        if kinds:
            parts.append(f"{words}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")
    changed = changed_in_place(certificate)
    return ", ".join(parts) + (f"; changed: {changed}" if changed else "")


def changed_in_place(certificate: Certificate) -> str:
    """The attributes and operators that are others, as a list for people; empty if there are none."""
    return _listed([str(one) for one in certificate.changes if one.is_in_place])


def _listed(items: Iterable[str]) -> str:
    listed: Sequence[str] = list(items)
    more = len(listed) - _MOST_SHOWN
    return "; ".join(listed) if more <= 0 else f"{'; '.join(listed[:_MOST_SHOWN])}; and {more} more"
