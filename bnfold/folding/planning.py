"""The search: an affine node becomes the identity when the tensors around it are re-expressed.

``y = F(x)`` becomes ``y = x`` when x is re-expressed by A and y by F∘A. There are three ways to begin: everything
*back* into x, everything *forward* into y, or the shift back and the scale forward. From there each op around a
re-expressed tensor is asked what it makes of it; what it carries is asked about in turn, until no question is open. A
plan is then a list of rewrites. The search never changes the graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.affine import Affine
from bnfold.errors import ModelError
from bnfold.folding.answers import Answer, Blocked, Choice
from bnfold.folding.evaluation import reads_shape_only
from bnfold.folding.nodes import find_input
from bnfold.folding.ops import find_rule
from bnfold.folding.reexpression import Reexpression
from bnfold.folding.result import Attempt
from bnfold.folding.rounding import round_once
from bnfold.folding.scaling import Scaled
from bnfold.folding.sites import read_affine, read_spread
from bnfold.folding.streams import neighbours, stream_of
from bnfold.folding.view import Footprint, View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from bnfold.folding.answers import Rewrite
    from bnfold.folding.facts import Facts
    from bnfold.folding.sites import Site

__all__ = ["MOST_SHIFT", "Plan", "find_plan", "leaves_range"]

_MOST_TENSORS = 512  # the largest plan seen on 75 real networks re-expressed 169

# Most plans are small, but one of the ways to begin may lead along a whole residual stream: it goes no further than
# the others need to, since what costs least is a plan of few tensors.
_LIMITS = (16, 64, _MOST_TENSORS)

_MOST_BRANCHES = 16  # choices for each start, so that a long residual stream is not tried in every combination

# Ops that have weights, and that a scale alone seldom troubles.
_SLOW_TO_ASK = frozenset({"Add", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul", "Sub", "Sum"})

# A reader that takes off a shift of k standard deviations errs by k roundings more. On a residual network k = 2^8 cost
# 1e-5 in float32; the others have as many bits to spare as their own precision and use allow.
MOST_SHIFT = {
    ir.DataType.FLOAT16: 2.0**2,
    ir.DataType.BFLOAT16: 1.0,
    ir.DataType.FLOAT: 2.0**8,
    ir.DataType.DOUBLE: 2.0**37,
}


@dataclass(frozen=True)
class Plan:
    """How one site goes.

    Attributes:
        site: The nodes that become the identity.
        route: Where its scale and shift go.
        rewrites: What changes; committing them cannot fail.
        through: The nodes that carry without changing.
        cost: New nodes, then re-expressed tensors: less is better.
        conditioning: The largest shift that another reader must take off again, in standard deviations.
        widened: Tensors that get one channel more.
    """

    site: Site
    route: str
    rewrites: tuple[Rewrite, ...]
    through: tuple[ir.Node, ...]
    cost: tuple[int, int]
    conditioning: float
    widened: tuple[ir.Value, ...] = ()


def find_plan(
    site: Site,
    facts: Facts,
    *,
    new_nodes_allowed: bool,
    repairs_allowed: bool = False,
    footprint: Footprint | None = None,
) -> Plan | tuple[Attempt, ...]:
    """The plan with the fewest new nodes and re-expressed tensors, or what blocked each way to begin.

    Args:
        site: The affine.
        facts: The model.
        new_nodes_allowed: Whether a plan may add a node, for the one that it removes.
        repairs_allowed: Whether it may do so to make up for zero padding.
        footprint: Takes note of what the answer depends on.
    """
    affine, spread = read_affine(site, facts), read_spread(site, facts)
    footprint = footprint or Footprint()
    footprint.nodes.update(site.nodes)
    drafts: dict[str, _Draft] = {}
    attempts: dict[str, Attempt] = {}
    with np.errstate(all="ignore"):  # what overflows is found by leaves_range
        allowed = _Allowed(new_nodes_allowed, repairs_allowed)
        starts = dict(_starts(site, affine))
        waiting = list(starts)
        for limit in _LIMITS:
            unfinished = []
            for route in waiting:
                search = _Search(site, facts, spread, footprint, allowed, limit)
                try:
                    drafts[route] = search.run(route, starts[route], is_doubtful=limit > _LIMITS[0])
                    if drafts[route].is_unbeatable:
                        return drafts[route].finish(facts)
                except _Stuck as stuck:
                    drafts.pop(route, None)
                    attempts[route] = _attempt(route, stuck, search.reach, facts)
                    unfinished += [route] if search.met_limit else []
            waiting = unfinished if limit < _MOST_TENSORS else []
            for route, draft in sorted(drafts.items(), key=lambda item: (item[1].cost, item[1].changed_affines)):
                if waiting and draft.cost[0]:
                    break  # a larger plan may do without a new node
                try:
                    return draft.finish(facts)
                except _Stuck as stuck:
                    del drafts[route]
                    attempts[route] = _attempt(route, stuck, draft.reach, facts)
            if not waiting:
                break
    return tuple(attempts[route] for route in starts)


def _attempt(route: str, stuck: _Stuck, reach: int, facts: Facts) -> Attempt:
    return Attempt(route, facts.label(stuck.node), facts.op_type(stuck.node), stuck.reason, reach)


def _starts(site: Site, affine: Affine) -> Iterator[tuple[str, dict[ir.Value, Reexpression]]]:
    """The ways to make the node the identity; one that says the same as an earlier one is left out."""
    identity = Reexpression.from_read(Affine.identity(affine.rank))
    yield "back", {site.data: Reexpression.from_write(affine), site.output: identity}
    if affine.is_identity:
        return
    yield "forward", {site.data: identity, site.output: Reexpression.from_read(affine)}
    has_scale, has_shift = bool((affine.scale != 1).any()), bool(affine.shift.any())
    if has_scale and has_shift:
        # F(x_new − shift/scale) = scale·x_new. A dead channel has no such shift: its constant goes forward.
        dead = affine.scale == 0
        offset = np.where(dead, 0.0, affine.shift / np.where(dead, 1.0, affine.scale))
        ones = np.ones_like(affine.scale)
        data = Reexpression(read=Affine(ones, -offset), write=Affine(ones, offset))
        output = Reexpression.from_read(Affine(affine.scale, np.where(dead, affine.shift, 0.0)))
        yield "shift back, scale forward", {site.data: data, site.output: output}
    dead = affine.scale == 0
    if (dead & (affine.shift != 0)).any():
        # A dead channel that is 0 all the way passes where no other constant does: f(0) = 0 for most non-linearities.
        zeroed = Affine(affine.scale, np.where(dead, 0.0, affine.shift))
        constants = Affine(np.ones_like(affine.scale), np.where(dead, affine.shift, 0.0))
        start = {site.data: Reexpression.from_write(zeroed), site.output: Reexpression.from_read(constants)}
        yield "back, constants of dead channels forward", start


def _without_shift(reexpression: Reexpression) -> Reexpression:
    """The same scale; and the same re-expression where there is none to take off, or a scale is 0."""
    known = reexpression.write
    if reexpression.read is None or known is None or not known.shift.any():
        return reexpression
    return Reexpression.from_write(Affine(known.scale, np.zeros_like(known.shift)))


class _Stuck(Exception):  # noqa: N818 - the end of one route, caught by find_plan
    """A node blocked."""

    def __init__(self, node: ir.Node, reason: str) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason


def _at_limit(node: ir.Node, tensors: int) -> _Stuck:
    return _Stuck(node, f"is reached after {tensors} tensors, which is where the search ends")


@dataclass
class _State:
    """How far one way has been followed."""

    settled: dict[ir.Value, Reexpression] = field(default_factory=dict)
    moved: int = 0  # how many of them are not the identity
    open: dict[ir.Node, None] = field(default_factory=dict)  # a queue: each node waits once for all its tensors
    answers: dict[ir.Node, Answer] = field(default_factory=dict)
    postponed: dict[ir.Node, Answer | Choice] = field(default_factory=dict)  # choices and defaults, as they came up

    def copy(self) -> _State:
        return _State(dict(self.settled), self.moved, dict(self.open), dict(self.answers), dict(self.postponed))


@dataclass(frozen=True)
class _Draft:
    """A plan of which the new constants are not computed yet, which takes longer than all the rest.

    Attributes:
        site: As in ``Plan``.
        route: Likewise.
        answers: What each node answered.
        cost: As in ``Plan``.
        conditioning: Likewise.
        reach: How many tensors the furthest branch re-expressed.
    """

    site: Site
    route: str
    answers: dict[ir.Node, Answer]
    cost: tuple[int, int]
    conditioning: float
    reach: int

    @property
    def changed_affines(self) -> int:
        """How many others take something in: of two plans that cost the same, one that leaves them alone is better."""
        return sum(node.op_type == "BatchNormalization" for node, answer in self.answers.items() if answer.rewrite)

    @property
    def is_unbeatable(self) -> bool:
        """Whether it re-expresses one tensor and nothing else changes: Conv → BatchNormalization, most of the time."""
        return self.cost == (0, 1) and not self.changed_affines

    def finish(self, facts: Facts) -> Plan:
        """Compute the new constants.

        Raises:
            _Stuck: One of them cannot be stored.
        """
        rewrites = {node: answer.rewrite() for node, answer in self.answers.items() if answer.rewrite}
        for node, rewrite in rewrites.items():
            if dtype := leaves_range(rewrite, facts):
                raise _Stuck(node, f"would get a constant beyond the range of {dtype.name}")
        through = tuple(node for node, answer in self.answers.items() if answer.carry and not answer.rewrite)
        return Plan(self.site, self.route, tuple(rewrites.values()), through, self.cost, self.conditioning)


@dataclass(frozen=True)
class _Allowed:
    """What a plan may cost: see ``find_plan``."""

    new_nodes: bool
    repairs: bool


class _Search:
    """One way to begin, followed until no question is open."""

    def __init__(
        self,
        site: Site,
        facts: Facts,
        spread: NDArray[np.float64],
        footprint: Footprint,
        allowed: _Allowed,
        limit: int,
    ) -> None:
        self._site = site
        self._facts = facts
        self._spread = spread
        self._footprint = footprint
        self._allowed = allowed
        self._limit = limit
        self._branches_left = _MOST_BRANCHES
        self._start: dict[ir.Value, Reexpression] = {}
        self._scale_alone: tuple[_Stuck | None] | None = None  # None until somebody asks
        self._conditioning = 0.0
        self.reach = 0  # how many tensors the furthest branch re-expressed
        self.met_limit = False  # whether a branch ended there

    def run(self, route: str, start: dict[ir.Value, Reexpression], *, is_doubtful: bool = False) -> _Draft:
        """Ask until nobody has a question.

        Args:
            route: What the start is called.
            start: How the tensors before and behind the site are re-expressed.
            is_doubtful: Whether to look first if the scale alone would pass: that is soon told, and the rest is not.

        Raises:
            _Stuck: A node blocked.
        """
        self._start = start
        if is_doubtful:
            self._check_scale()
        shift = start[self._site.data].read
        self._shift_in_spreads = 0.0 if shift is None else float(np.abs(shift.shift / self._spread).max(initial=0.0))
        state = _State()
        self._settle(state, self._site.data, start[self._site.data], self._site.nodes[0])
        self._settle(state, self._site.output, start[self._site.output], self._site.nodes[-1])
        state = self._follow(state)
        new_nodes = sum(answer.new_nodes for answer in state.answers.values())
        if new_nodes > self._site.worth:
            raise _Stuck(self._site.nodes[0], f"would be replaced by {new_nodes} new node{'s' * (new_nodes > 1)}")
        cost = (new_nodes, state.moved)
        return _Draft(self._site, route, state.answers, cost, self._conditioning, self.reach)

    def _follow(self, state: _State) -> _State:
        """Forced answers first, then choices, and defaults only when nothing else is open."""
        while True:
            while state.open:
                node = next(iter(state.open))
                del state.open[node]
                state.postponed.pop(node, None)
                reply = self._ask(state, node)
                if isinstance(reply, Choice) or reply.is_default:
                    state.answers.pop(node, None)
                    state.postponed[node] = reply
                else:
                    self._accept(state, node, reply)
            if not state.postponed:
                return state
            node = next((n for n, r in state.postponed.items() if isinstance(r, Choice)), next(iter(state.postponed)))
            reply = state.postponed.pop(node)
            if not isinstance(reply, Choice):
                reply = self._ask(state, node, is_final=True)
            if isinstance(reply, Choice):
                return self._choose(state, node, reply)
            self._accept(state, node, reply)

    def _choose(self, state: _State, node: ir.Node, choice: Choice) -> _State:
        """The first option that leads somewhere; where none does, what stopped the first."""
        obstacle: _Stuck | None = None
        for option in choice.options:
            if obstacle is not None and (certain := self._scale_obstacle()):
                raise certain
            if self._branches_left == 0:
                obstacle = obstacle or _Stuck(node, f"is reached after {_MOST_BRANCHES} choices, where the search ends")
                break
            self._branches_left -= 1
            branch = state.copy()
            try:
                self._accept(branch, node, option)
                return self._follow(branch)
            except _Stuck as stuck:
                obstacle = obstacle or stuck
        raise obstacle or _Stuck(node, "has no way to choose from")

    def _check_scale(self) -> None:
        """Raise what stops the scale wherever the shifts go: far off along a stream, or as far as the limit."""
        if obstacle := self._stream_obstacle() or self._scale_obstacle():
            raise obstacle

    def _scale_obstacle(self) -> _Stuck | None:
        """What blocks even if nothing is shifted, so that no choice of where the shifts go leads anywhere.

        A long residual stream has a choice at each Add, and a negative scale that meets a Relu far off does so
        whatever is chosen.
        """
        if self._scale_alone is None:
            scales = {value: _without_shift(reexpression) for value, reexpression in self._start.items()}
            search = _Search(self._site, self._facts, self._spread, self._footprint, self._allowed, self._limit)
            search._scale_alone = (None,)
            self._scale_alone = (None,) if scales == self._start else (search._find_obstacle(scales),)
            self.met_limit |= search.met_limit
            self.reach = max(self.reach, search.reach)
        return self._scale_alone[0]

    def _stream_obstacle(self) -> _Stuck | None:
        """What stops the scale somewhere along the stream that the site reads or writes, however far off."""
        for start, reexpression in self._start.items():
            scale = _without_shift(reexpression)
            if scale.is_identity or scale.read is None or scale.write is None:
                continue
            for count, (value, by, around) in enumerate(stream_of(start, self._facts)):
                self.reach = max(self.reach, count)
                by = by or self._site.nodes[0]
                if count == _MOST_TENSORS:
                    return _at_limit(by, _MOST_TENSORS)
                try:
                    self._probe(value, by, around, scale)
                except _Stuck as stuck:
                    return stuck
        return None

    def _probe(self, value: ir.Value, by: ir.Node, around: list[ir.Node], scale: Reexpression) -> None:
        """See if a tensor could have a scale, as far as those around it say that are soon asked."""
        if pinned := self._facts.why_pinned(value):
            raise _Stuck(by, f"would change '{value.name}', which is {pinned}")
        self._footprint.nodes.update(around)
        for node in around:
            if node.op_type not in _SLOW_TO_ASK and node not in self._site.nodes:
                self._ask(_State(settled={value: scale}), node)

    def _find_obstacle(self, start: dict[ir.Value, Reexpression]) -> _Stuck | None:
        try:
            self.run("", start)
        except _Stuck as stuck:
            return stuck if self._branches_left else None
        return None

    def _accept(self, state: _State, node: ir.Node, answer: Answer) -> None:
        state.answers[node] = answer
        for value, reexpression in answer.carry.items():
            self._settle(state, value, reexpression, node)

    def _settle(self, state: _State, value: ir.Value, reexpression: Reexpression, by: ir.Node) -> None:
        """Take note of a demand, and ask everybody else whom it concerns."""
        known = state.settled.get(value)
        if known is not None:
            if not known.agrees(reexpression):
                raise _Stuck(by, f"needs '{value.name}' in another form than the rest of the plan does")
            return
        if not reexpression.is_identity:
            if pinned := self._facts.why_pinned(value):
                raise _Stuck(by, f"would change '{value.name}', which is {pinned}")
            if state.moved >= self._limit:
                self.met_limit = True
                raise _at_limit(by, self._limit)
            others = [node for node in neighbours(value, self._facts) if node not in (by, *self._site.nodes)]
            self._footprint.nodes.update(others)
            if value.producer() is not by:
                self._check_conditioning(value, reexpression, others)
            state.open.update(dict.fromkeys(others))
            state.moved += 1
        state.settled[value] = reexpression
        self.reach = max(self.reach, len(state.settled))

    def _check_conditioning(self, value: ir.Value, reexpression: Reexpression, others: list[ir.Node]) -> None:
        """Other readers must take a shift off again: bits are lost when it is large against what the tensor spreads."""
        if reexpression.read is None or not reexpression.read.shift.any():
            return
        dtype = self._facts.shapes.dtype(value) or ir.DataType.FLOAT
        limit = MOST_SHIFT.get(dtype, MOST_SHIFT[ir.DataType.FLOAT])
        readers = [node for node in others if node is not value.producer() and not reads_shape_only(node)]
        if readers:
            self._conditioning = max(self._conditioning, self._shift_in_spreads)
        if readers and not self._shift_in_spreads <= limit:
            shift = f"{self._shift_in_spreads:.2g} standard deviations"
            raise _Stuck(readers[0], f"also reads '{value.name}', and would lose bits taking off a shift of {shift}")

    def _ask(self, state: _State, node: ir.Node, *, is_final: bool = False) -> Answer | Choice:
        self._footprint.nodes.add(node)
        rule = find_rule(node)
        if rule is None:
            is_call = self._facts.is_call(node)
            raise _Stuck(node, "calls a function" if is_call else "is an op that bnfold knows no rule for")
        if node in self._facts.untouchable:
            raise _Stuck(node, "was asked to stay as it is")
        for slot, value in enumerate(node.inputs):
            known = state.settled.get(value) if value is not None and slot not in rule.data_slots else None
            if value is not None and known is not None and not known.is_identity:
                raise _Stuck(node, f"reads '{value.name}' as its input {slot}, where no fold can follow")
        try:
            view = View(
                self._facts,
                state.settled,
                new_nodes_allowed=self._allowed.new_nodes,
                repairs_allowed=self._allowed.repairs,
                is_final=is_final,
                footprint=self._footprint,
            )
            return rule.answer(node, view)
        except Blocked as blocked:
            value, since = self._facts.heirs.get(node, (None, ""))
            known = state.settled.get(value) if value is not None else None
            raise _Stuck(node, blocked.reason + (since if known and not known.is_identity else "")) from None
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            what = f"{node.op_type} '{self._facts.label(node)}'"
            raise ModelError(f"{what} is malformed: {error or type(error).__name__}".splitlines()[0]) from error


def leaves_range(rewrite: Rewrite, facts: Facts) -> ir.DataType | None:
    """The dtype in which a finite weight would become infinite when it is rounded (float16 ends at 65504), or None."""
    node = rewrite.node
    arrays: dict[int, NDArray[np.float64] | Scaled] = dict(rewrite.constants)
    if rewrite.bias_behind is not None:
        arrays[len(node.inputs)] = rewrite.bias_behind
    if rewrite.padding is not None:
        arrays[len(node.inputs) + 1] = np.array(rewrite.padding.value)
    for slot, array in arrays.items():
        dtype = facts.stored_dtype(node, slot, rewrite.dtype_slot)
        if isinstance(array, Scaled) and array.fits(dtype):
            continue
        rounded, _ = array.rounded(dtype) if isinstance(array, Scaled) else round_once(array, dtype)
        if not np.isfinite(rounded).all():
            old = facts.constants.weight(find_input(node, slot))
            if old is None or np.isfinite(old).all():
                return dtype
    return None
