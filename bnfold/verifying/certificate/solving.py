"""Recomputes each rewritten weight in float64, and compares it with what is stored.

For every pair of tensors (``pairing.py``) there is a map with reference = map(candidate), the identity at inputs of the
graph. A node with weights settles that of its output:

    W·(s_x·x + t_x) + b = s_y·(W′·x + b′) + t_y     W′ = W·s_x/s_y     b′ = (b + Σ W·t_x − t_y)/s_y

The weights say which s_y and t_y were meant, and ``hypotheses.py`` which numbers these are exactly; then W′ and b′ are
known. What a difference means is said in ``concluding.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bnfold.affine import Affine
from bnfold.verifying.certificate.attributes import same_attributes
from bnfold.verifying.certificate.carrying import is_carrier, push
from bnfold.verifying.certificate.comparing import ignores
from bnfold.verifying.certificate.concluding import BY_DEAD, NO_BIAS, Solution
from bnfold.verifying.certificate.hypotheses import Reach, choose, followed_by, reach
from bnfold.verifying.certificate.kinds import linear_of
from bnfold.verifying.certificate.overlooked import is_same
from bnfold.verifying.certificate.product import Product, any_shift
from bnfold.verifying.certificate.quantised import codes_of, reader_of
from bnfold.verifying.certificate.reading import (
    Constants,
    affine_of,
    given,
    has_dead,
    label_of,
    name_of,
    operand_of,
    rank_of,
)
from bnfold.verifying.certificate.result import Finding, WeightCheck
from bnfold.verifying.certificate.rounding import FLOAT64, deviations, epsilon, is_excused, ulps, without_widening
from bnfold.verifying.certificate.settling import UNSETTLED, Draft, Visit, has_bodies

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.verifying.certificate.hypotheses import Hypothesis
    from bnfold.verifying.certificate.linear import Linear
    from bnfold.verifying.certificate.pairing import Pairs

    Numbers = NDArray[np.float64]

__all__ = ["solve"]

_BLIND = frozenset({"Shape", "Size"})  # they read no numbers
_NEAR = 64  # ulps that an estimate may be off to be near
_SCALE = frozenset({"scale"})
_OTHER_AXIS = "what is moved into it varies along another axis than its weights"
_BESIDE = "what it has beside the weights of its input changed"
_STATE = 3  # axes of what a recurrent operator ends with: directions, batch, hidden
_NOISE = 8.0  # ulps around the best scale of a row: more is no question of scales


def solve(
    reference: ir.Graph, pairs: Pairs, constants: Constants, others: Constants
) -> tuple[list[WeightCheck], list[ir.Value]]:
    """The checks of all weights of the candidate that changed, or should have; and the tensors that did not change."""
    solver = _Solver(reference, pairs, constants, others)
    return solver.run(), solver.unchanged()


class _Solver:
    def __init__(self, reference: ir.Graph, pairs: Pairs, constants: Constants, others: Constants) -> None:
        self._graph, self._pairs = reference, pairs
        self._constants, self._others = constants, others
        self._maps: dict[ir.Value, Affine] = {}
        self._visits: list[Visit] = []
        self._has_dead = False
        self._conflicts: set[ir.Node] = set()  # where a map arrived that does not pass
        self._arrived: list[ir.Node] = []  # those of them that are as they were
        self._origin: dict[ir.Value, set[ir.Value]] = {}  # the settled tensors that a map comes from

    def run(self) -> list[WeightCheck]:
        for value in (*self._graph.inputs, *self._pairs.anchors):
            rank = rank_of(value)
            if value in self._pairs.values and rank is not None and not self._constants.is_constant(value):
                self._maps[value] = Affine.identity(rank)
                self._origin[value] = {UNSETTLED} if value in self._pairs.anchors else set()
                self._append_term(value)
        for node in self._graph:
            self._visit(node)
        return Solution(
            self._graph, self._pairs, self._constants, self._others, self._maps, self._origin, self._visits,
            self._conflicts, self._arrived, self._has_dead,
        ).conclude()  # fmt: skip

    def unchanged(self) -> list[ir.Value]:
        """The tensors, in the order of the graph, that have the same content in both."""
        written = [value for node in self._graph for value in node.outputs if value in self._maps]
        return [value for value in written if value in self._pairs.values and self._maps[value].is_identity]

    def _visit(self, node: ir.Node) -> None:
        data = [value for value in node.inputs if value in self._maps]
        if node in self._pairs.removed:
            self._remove(node, data)
        elif (other := self._pairs.nodes.get(node)) is not None:
            linear, theirs = linear_of(node, self._constants), linear_of(other, self._others)
            if linear is not None and theirs is not None:
                self._solve_linear(linear, theirs)
            elif data and self._is_affine(node, data[0]):
                self._solve_affine(node, other, data[0])
            else:
                self._carry(node, other)
        for value in node.outputs:
            if value in self._maps:
                self._append_term(value)

    def _remove(self, node: ir.Node, data: list[ir.Value]) -> None:
        if not data:
            return
        affine = affine_of(node, self._constants, self._maps[data[0]].rank)
        if affine is None:
            return
        result = followed_by(self._maps[data[0]], affine)
        self._has_dead |= has_dead(affine)
        self._put(node.outputs[0], result, data)

    def _put(self, value: ir.Value, one: Affine, sources: list[ir.Value]) -> None:
        self._maps[value] = one
        self._origin[value] = set().union(*(self._origin.get(source, set()) for source in sources))

    def _is_affine(self, node: ir.Node, data: ir.Value) -> bool:
        return affine_of(node, self._constants, self._maps[data].rank) is not None and node.op_type != "Neg"

    # Operators without weights -----------------------------------------------------------------------------------

    def _carry(self, node: ir.Node, other: ir.Node) -> None:
        if node.op_type in _BLIND:
            self._put(node.outputs[0], Affine.identity(rank_of(node.outputs[0]) or 0), [])
            return
        data = [value for value in node.inputs if value is not None and value in self._maps]
        if self._changed_constants(node, other):
            self._conflicts.add(node)
        if any(
            value not in self._maps and not self._constants.is_constant(value)
            for value in node.inputs
            if value is not None
        ):
            self._conflicts.add(node)  # nothing is known of one of its inputs
        maps = [None if value is None else self._maps.get(value) for value in node.inputs]
        plain = all(one.is_identity for one in maps if one is not None)
        is_same = same_attributes(node, other)
        for index, value in enumerate(node.outputs):
            result = None
            if is_carrier(node, self._constants) and data and is_same and not plain:
                with np.errstate(all="ignore"):
                    result = push(node, maps, self._constants, index)
            if result is None:
                rank = rank_of(value) or (max(self._maps[one].rank for one in data) if data else None)
                if rank is None:
                    continue
                result = Affine.identity(rank)
                plain = plain or (len(data) == 1 and ignores(node, self._maps[data[0]]))
                if not plain and is_same and node not in self._conflicts and not has_bodies(node):
                    self._arrived.append(node)
                if not plain or not is_same or has_bodies(node):
                    self._conflicts.add(node)
            self._put(value, result, data)
            if node in self._conflicts:
                self._origin[value] = {UNSETTLED}

    def _changed_constants(self, node: ir.Node, other: ir.Node) -> list[Draft]:
        """Constants that changed at an operator that the certificate does not know."""
        drafts = []
        for slot, value in enumerate(other.inputs):
            if value is None or not self._others.is_constant(value):
                continue
            new = self._others.array(value)
            if new is None or is_same(self._constants.array(given(node, slot)), new):
                continue
            check = _check(other, value, Finding.OPEN)
            drafts.append(Draft(check, True, _SCALE, blocked="the certificate does not know its operator"))
        if drafts and node.outputs:
            self._visits.append(Visit(node, [], node.outputs[0], Reach(), drafts))
        return drafts

    # Operators with weights --------------------------------------------------------------------------------------

    def _solve_linear(self, linear: Linear, theirs: Linear) -> None:
        data, output = linear.data, linear.node.outputs[0]
        one = None if data is None else self._maps.get(data)
        rank = self._rank_behind(linear, one)
        if data is None or one is None or rank is None:
            return
        ahead = Reach() if linear.pins else self._reach(output, rank)
        choices = self._pairs.choices.get(linear.node, ())
        ahead.maps += [
            followed_by(one, last) if is_behind else last for last, is_behind in choices if last.rank == rank
        ]
        visit = Visit(linear.node, [data], output, ahead, linear=linear)
        self._visits.append(visit)
        result, blocked = self._solve_rows(linear, theirs, one, rank, visit)
        if blocked:
            self._block(visit, theirs.node, blocked)
            result = Affine.identity(rank)
        # Where no bias can take it in, the shift behind is what the weights make of the one in front.
        origin = {output} | (set() if linear.has_bias_slot else self._origin.get(data, set()))
        for value in linear.node.outputs:
            self._maps[value] = result if value is output else Affine.identity(rank_of(value) or _STATE)
            self._origin[value] = origin

    def _reach(self, value: ir.Value, rank: int) -> Reach:
        return reach(value, rank, self._pairs, self._maps, self._constants)

    def _rank_behind(self, linear: Linear, one: Affine | None) -> int | None:
        known = rank_of(linear.node.outputs[0])
        return known if known is not None or one is None else one.rank + linear.pins

    def _block(self, visit: Visit, other: ir.Node, reason: str) -> None:
        """Every constant of a node that changed is not certified; those that did not say nothing of the maps."""
        visit.is_blocked = True
        for slot, value in enumerate(other.inputs):
            new, old = self._others.array(value), self._constants.array(given(visit.node, slot))
            if value is not None and new is not None and not is_same(old, new):
                visit.drafts.append(Draft(_check(other, value, Finding.OPEN), True, _SCALE, blocked=reason))

    def _solve_rows(self, linear: Linear, theirs: Linear, one: Affine, rank: int, visit: Visit) -> tuple[Affine, str]:
        """The map of the output; or why the weights cannot be recomputed."""
        nothing = Affine.identity(rank)
        slot = linear.node.inputs[linear.weight], theirs.node.inputs[theirs.weight]
        old, new = self._constants.array(slot[0]), self._others.array(slot[1])
        if old is None or new is None or old.dtype.kind in "iub" or new.dtype.kind in "iub":
            return nothing, "its weights are no floats"
        new = without_widening(new, old.dtype)
        rows, their_rows = linear.rows(old), theirs.rows(new)
        outputs, inputs, _ = rows.shape
        same = linear.group == theirs.group and same_attributes(linear.node, theirs.node)
        if rows.shape != their_rows.shape or not same:
            return nothing, "it has another shape, or other attributes, than in the reference"
        incoming = linear.incoming(one, outputs, inputs)
        bias, their_bias = linear.bias(self._constants, outputs), theirs.bias(self._others, outputs)
        if incoming is None or bias is None or their_bias is None:
            return nothing, _OTHER_AXIS
        in_scale, in_shift = incoming
        if any_shift(in_shift) and linear.pads:
            return nothing, "a shift in front of it meets its zero padding"
        if linear.changed_beside(self._constants, theirs, self._others):
            return nothing, _BESIDE
        for at in linear.beside:
            self._compare_beside(linear, theirs, at, visit)
        product = Product(rows, their_rows, in_scale, linear.alpha, theirs.alpha)
        codes, their_codes = codes_of(slot[0], self._constants), codes_of(slot[1], self._others)
        stored = theirs.node, slot[1], new
        if codes is not None and their_codes is not None:
            if not codes.has_codes_of(their_codes):
                return nothing, "its integers are others than in the reference"
            product = replace(product, rows=linear.rows(codes.step), theirs=theirs.rows(their_codes.step))
            stored = their_codes.node, their_codes.node.inputs[1], their_codes.step
        scale = self._choose_scale(product, visit.reach, linear)
        visit.drafts.append(self._weight_draft(product, scale, theirs, *stored))
        moved, size = (product if codes is None else replace(product, rows=linear.rows(codes.numbers))).moved(in_shift)
        shift = self._solve_bias(linear, theirs, scale, (bias + moved, their_bias), np.abs(bias) + size, visit)
        return linear.outgoing(scale, shift, rank), ""

    def _compare_beside(self, linear: Linear, theirs: Linear, slot: int, visit: Visit) -> None:
        """A constant that stands beside the weights, and has to be what it was."""
        value, own = given(theirs.node, slot), given(linear.node, slot)
        if own in self._maps and not self._maps[own].is_identity:
            self._arrived.append(linear.node)
        old, new = self._constants.array(own), self._others.array(value)
        if value is None or new is None or is_same(old, new):
            return
        if old is None or old.shape != new.shape or "i" in (old.dtype.kind, new.dtype.kind):
            visit.drafts.append(Draft(_check(theirs.node, value, Finding.OPEN), True, _SCALE, blocked=_BESIDE))
            return
        wanted = old.astype(np.float64)
        visit.drafts.append(
            self._term_draft(theirs.node, name_of(value), new, (wanted, 0 * wanted), visit, same=False, is_scale=True)
        )

    def _choose_scale(self, product: Product, ahead: Reach, linear: Linear) -> Numbers:
        estimate = product.estimate
        tolerance = _NEAR * product.epsilon * np.abs(np.nan_to_num(estimate))
        return choose(estimate, tolerance, linear.along(ahead, estimate.size)[0])

    def _weight_draft(
        self,
        product: Product,
        scale: Numbers,
        theirs: Linear,
        node: ir.Node,
        value: ir.Value | None,
        stored: NDArray[Any],
    ) -> Draft:
        worst, index, expected, unknown, noise = product.compare(scale)
        check = replace(_check(node, value, Finding.CERTIFIED), ulps=worst, is_excused=product.is_excused(scale))
        blocked = BY_DEAD if unknown else ""
        if worst > 1:
            place = theirs.place(index, stored.shape)
            check = replace(check, index=place, stored=float(stored[place]), expected=expected, terms=worst)
        changed = not product.is_unchanged()
        draft = Draft(check, worst > 1, _SCALE, is_noise=noise > _NOISE, blocked=blocked)
        if not changed and worst <= 1:
            draft.check = replace(check, constant="")  # nothing to tell
        return draft

    def _solve_bias(
        self,
        linear: Linear,
        theirs: Linear,
        scale: Numbers,
        biases: tuple[Numbers, Numbers],
        size: Numbers,
        visit: Visit,
    ) -> Numbers:
        """The shift of the output, after a comparison of the biases."""
        total, stored = biases
        if not theirs.has_bias_slot:
            return _cancelled(total - scale * stored, size)
        value = given(theirs.node, theirs.bias_slot)
        tensor, codes = self._others.array(value), codes_of(value, self._others)
        if tensor is not None and codes is None:
            tensor = without_widening(tensor, self._stored_dtype(linear, self._constants))
        dtype = self._stored_dtype(theirs, self._others) if tensor is None else tensor.dtype
        unit = None if codes is None else theirs.bias_of(codes.step, total.size).astype(np.float64)
        shift = _choose_shift(total, scale, stored, dtype, linear.along(visit.reach, total.size)[1], unit)
        with np.errstate(all="ignore"):
            expected, least = (total - shift) / scale, (size + np.abs(shift)) / np.abs(scale)
            if theirs.beta:
                expected, least = expected / theirs.beta, least / abs(theirs.beta)
                stored = stored / theirs.beta
        is_absent = tensor is None or theirs.beta == 0
        numbers = np.zeros(total.size, dtype) if tensor is None or is_absent else theirs.bias_of(tensor, total.size)
        old = self._constants.array(given(linear.node, linear.bias_slot))
        same = (old is None and is_absent) or (old is not None and tensor is not None and np.array_equal(old, tensor))
        name = value.name if value is not None and not is_absent else NO_BIAS
        node, expecting = theirs.node, (expected, least)
        if codes is not None:
            node, name, numbers = codes.node, name_of(codes.node.inputs[0]), theirs.bias_of(codes.numbers, total.size)
        visit.drafts.append(self._term_draft(node, name or "", numbers, expecting, visit, same=same, unit=unit))
        return shift

    def _stored_dtype(self, linear: Linear, constants: Constants) -> np.dtype[Any]:
        tensor = constants.array(linear.node.inputs[linear.weight])
        return np.dtype(np.float32) if tensor is None else tensor.dtype

    def _term_draft(
        self,
        node: ir.Node,
        name: str,
        stored: NDArray[Any],
        expected: tuple[Numbers, Numbers],
        visit: Visit,
        *,
        same: bool,
        is_scale: bool = False,
        unit: Numbers | None = None,
    ) -> Draft:
        wanted, size = expected
        largest = float(np.nanmax(np.where(np.isfinite(size), size, 0.0), initial=0.0))
        off = deviations(stored, wanted, largest)
        if unit is not None:
            off = np.minimum(off, np.abs(stored - wanted) / unit)
        known = np.where(np.isfinite(off), off, 0.0)
        worst = float(known.max(initial=0.0))
        check = WeightCheck(label_of(node), node.op_type, name, Finding.CERTIFIED, worst)
        check = replace(check, is_excused=unit is None and is_excused(stored, wanted, largest))
        if worst > 1:
            difference = np.where(known > 0, np.abs(stored.astype(np.float64) - wanted), 0.0)
            terms = float(difference.max() / (epsilon(stored.dtype) * largest)) if largest else worst
            check = replace(check, terms=min(worst, terms))
            place = tuple(int(axis) for axis in np.unravel_index(int(known.argmax()), known.shape))
            check = replace(check, index=place, stored=float(stored[place]), expected=float(wanted[place]))
        elif same:
            check = replace(check, constant="")
        blocked = "" if np.isfinite(off).all() else BY_DEAD
        return Draft(check, worst > 1, _SCALE if is_scale else _SCALE | {"shift"}, blocked=blocked)

    # Affines that are left, and terms that are new ---------------------------------------------------------------

    def _solve_affine(self, node: ir.Node, other: ir.Node, data: ir.Value) -> None:
        one, output = self._maps[data], node.outputs[0]
        visit = Visit(node, [data], output, self._reach(output, one.rank))
        self._visits.append(visit)
        if node.op_type == "BatchNormalization" and other.op_type == node.op_type:
            result = self._solve_batch_norm(node, other, one, visit)
        else:
            result = self._solve_operand(node, other, one, visit)
        if result is None:
            self._block(visit, other, "what is moved into it varies along another axis than its constant")
            result = Affine.identity(one.rank)
        self._maps[output] = result
        self._origin[output] = {output}

    def _solve_batch_norm(self, node: ir.Node, other: ir.Node, one: Affine, visit: Visit) -> Affine | None:
        old = [self._constants.numbers(node.inputs[slot]) for slot in range(1, 5)]
        new = [self._others.array(other.inputs[slot]) for slot in range(1, 5)]
        if any(array is None for array in (*old, *new)) or not same_attributes(node, other):
            return None
        gamma, beta, mean, var = (array for array in old if array is not None)
        stored = [array for array in new if array is not None]
        vectors = one.vectors(1, gamma.size)
        if vectors is None or not np.array_equal(var, stored[3]):
            return None
        in_scale, in_shift = vectors
        scales, shifts = visit.reach.along(1, gamma.size)
        with np.errstate(all="ignore"):
            estimate = gamma * in_scale / stored[0].astype(np.float64)
            near = _NEAR * epsilon(stored[0].dtype) * np.abs(np.nan_to_num(estimate))
            scale = choose(estimate, near, scales)
            shift = _choose_shift(beta, scale, stored[1].astype(np.float64), stored[1].dtype, shifts)
            wanted = (
                (gamma * in_scale / scale, np.zeros_like(gamma)),
                ((beta - shift) / scale, (np.abs(beta) + np.abs(shift)) / np.abs(scale)),
                ((mean - in_shift) / in_scale, (np.abs(mean) + np.abs(in_shift)) / np.abs(in_scale)),
            )
        for slot, (expected, array) in enumerate(zip(wanted, stored, strict=False), start=1):
            same = np.array_equal(old[slot - 1], array)  # type: ignore[arg-type]
            name = other.inputs[slot].name or ""  # type: ignore[union-attr]
            visit.drafts.append(self._term_draft(other, name, array, expected, visit, same=same, is_scale=slot == 1))
        return Affine.per_channel(scale, shift, rank=one.rank)

    def _solve_operand(self, node: ir.Node, other: ir.Node, one: Affine, visit: Visit) -> Affine | None:
        """An Add, Sub, Mul or Div of a constant."""
        slot, their_slot = operand_of(node, self._constants), operand_of(other, self._others)
        if slot is None or their_slot is None or (node.op_type in {"Sub", "Div"} and (slot, their_slot) != (1, 1)):
            return None
        old = self._constants.numbers(node.inputs[slot])
        stored, own = self._others.array(other.inputs[their_slot]), self._constants.array(node.inputs[slot])
        if old is None or own is None or stored is None or stored.dtype.kind in "iub":
            return None
        stored = without_widening(stored, own.dtype)
        sign = -1.0 if node.op_type == "Sub" else 1.0
        name = other.inputs[their_slot].name or ""  # type: ignore[union-attr]
        same = old.shape == stored.shape and np.array_equal(old, stored)
        if node.op_type in {"Add", "Sub"}:
            return self._solve_term(other, name, (sign * old, stored, sign), one, visit, same=same)
        return self._solve_factor(other, name, (old, stored), one, visit, same=same)

    def _solve_term(
        self,
        node: ir.Node,
        name: str,
        terms: tuple[Numbers, NDArray[Any], float],
        one: Affine,
        visit: Visit,
        *,
        same: bool,
    ) -> Affine | None:
        """s·x + t + a = s·(x + a′) + t′, of which t′ is looked for."""
        old, stored, sign = terms
        wide = sign * stored.astype(np.float64)
        if max(old.ndim, wide.ndim) > one.rank:
            return None
        old, wide = (array.reshape((1,) * (one.rank - array.ndim) + array.shape) for array in (old, wide))
        shape = np.broadcast_shapes(old.shape, wide.shape, one.scale.shape, one.shift.shape)
        shifts = visit.reach.spread(shape)[1]
        total, scale, theirs = (_flat(np.broadcast_to(array, shape)) for array in (one.shift + old, one.scale, wide))
        shift = _choose_shift(total, scale, theirs, stored.dtype, shifts)
        with np.errstate(all="ignore"):
            expected = sign * (total - shift) / scale
            size = (np.abs(total) + np.abs(shift) + np.abs(_flat(np.broadcast_to(old, shape)))) / np.abs(scale)
        numbers = _flat(np.broadcast_to(stored.reshape(wide.shape), shape))
        visit.drafts.append(self._term_draft(node, name, numbers, (expected, size), visit, same=same))
        return Affine(one.scale, shift.reshape(shape))

    def _solve_factor(
        self, node: ir.Node, name: str, factors: tuple[Numbers, NDArray[Any]], one: Affine, visit: Visit, *, same: bool
    ) -> Affine | None:
        """m·(s·x + t) = s′·m′·x + m·t, of which s′ is looked for; Div has 1/m."""
        old, stored = factors
        is_div = node.op_type == "Div"
        if max(old.ndim, stored.ndim) > one.rank:
            return None
        wide = stored.astype(np.float64)
        old, wide = (array.reshape((1,) * (one.rank - array.ndim) + array.shape) for array in (old, wide))
        shape = np.broadcast_shapes(old.shape, wide.shape, one.scale.shape, one.shift.shape)
        with np.errstate(all="ignore"):
            factor, theirs = (1 / old, 1 / wide) if is_div else (old, wide)
            scaled, own = _flat(np.broadcast_to(factor * one.scale, shape)), _flat(np.broadcast_to(theirs, shape))
            estimate = scaled / own
            near = _NEAR * epsilon(stored.dtype) * np.abs(np.nan_to_num(estimate))
            scale = choose(estimate, near, visit.reach.spread(shape)[0])
            expected = scale / scaled if is_div else scaled / scale
        numbers = _flat(np.broadcast_to(stored.reshape(wide.shape), shape))
        draft = self._term_draft(node, name, numbers, (expected, 0 * expected), visit, same=same, is_scale=True)
        visit.drafts.append(draft)
        return Affine(scale.reshape(shape), factor * one.shift)

    def _append_term(self, value: ir.Value) -> None:
        """A constant term that only the candidate has, behind what stands in the place of a tensor."""
        term = self._pairs.added.get(value)
        slot = None if term is None else operand_of(term, self._others)
        stored = None if term is None or slot is None else self._others.array(term.inputs[slot])
        if term is None or slot is None or stored is None:
            return
        one = self._maps[value]
        producer = value.producer()
        visit = Visit(producer if producer is not None else term, [value], value, self._reach(value, one.rank))
        name = term.inputs[slot].name or ""  # type: ignore[union-attr]
        result = self._solve_term(term, name, (np.zeros(()), stored, 1.0), one, visit, same=False)
        self._visits.append(visit)
        self._origin[value] = self._origin.get(value, set()) | {value}
        if result is not None:
            self._maps[value] = result


def _choose_shift(
    total: Numbers,
    scale: Numbers,
    stored: Numbers,
    dtype: np.dtype[Any],
    hypotheses: Sequence[Hypothesis],
    unit: Numbers | None = None,
) -> Numbers:
    """The t with total = scale·stored + t that was meant; among the hypotheses is that the bias was left as it is."""
    with np.errstate(all="ignore"):
        estimate = total - scale * stored
        size = np.abs(total) + np.abs(scale * stored)
        step = 16 * ulps(np.nan_to_num(stored), dtype) if unit is None else unit
        near = np.abs(scale) * step + FLOAT64 * size
    return choose(estimate, np.nan_to_num(near), hypotheses)


def _cancelled(total: Numbers, size: Numbers) -> Numbers:
    return np.where(np.abs(total) <= 1e-13 * size, 0.0, total)


def _flat(array: NDArray[Any] | None) -> NDArray[Any]:
    return np.zeros(0) if array is None else array.reshape(-1)


def _check(node: ir.Node, value: ir.Value | None, finding: Finding) -> WeightCheck:
    maker = reader_of(node, value)
    return WeightCheck(label_of(maker), maker.op_type, name_of(value), finding)
