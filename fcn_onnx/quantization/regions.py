"""What of an int8 model goes back to fp32 together, and what that gains and costs, told before it is tried.

The error of the logits that a rounding makes alone adds up with those of the others, as squares of errors do that have
nothing to do with one another: on 12 images, DeepLabV3 MobileNetV2's activations and weights come to 1.04 times the
error of the int8 model. So each is measured once, alone, and every set of convolutions is told from these: an
activation is rounded as long as something in int8 writes it, or reads it. What a set costs is told from the times of
nodes, in fp32 and in int8, and from the elements that cross between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import onnx

from fcn_onnx.model.products import PRODUCT_OPS
from fcn_onnx.model.uses import moves_values, producers, readers
from fcn_onnx.quantization.islands import RECTIFIERS, SUMS

EDGE_PASSES = 3
"""Over a tensor between int8 and fp32: its DequantizeLinear or QuantizeLinear, the guard of `keeping`, the layout."""

UNROUNDED_PASSES = 4
"""Over the sums of a convolution that stay float32 (bias, Transpose, Add, Relu), beyond what int8 takes."""

TINY_MS = 1e-4


@dataclass(frozen=True)
class State:
    """What is not all int8.

    Attributes:
        kept: convolutions in fp32.
        unrounded: convolutions whose sums stay float32.
    """

    kept: frozenset[str] = frozenset()
    unrounded: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.kept) + len(self.unrounded)


@dataclass(frozen=True)
class Region:
    """Convolutions that change together: one, those that follow one another directly, or those that Adds take from.

    Attributes:
        name: of its last convolution, or of the last Add, and of what it is.
        convs: their names.
        unrounded: their sums stay float32; else they are in fp32.
    """

    name: str
    convs: tuple[str, ...]
    unrounded: bool = False

    def on(self, state: State) -> State:
        """The state with this region as it wants it."""
        if self.unrounded:
            return State(state.kept, state.unrounded | (frozenset(self.convs) - state.kept))
        kept = state.kept | frozenset(self.convs)
        return State(kept, state.unrounded - kept)


@dataclass(frozen=True)
class Activation:
    """A tensor that the all-int8 model holds in 8 bits.

    Attributes:
        maker: name of what computes it; None for the input.
        readers: names of what computes on it.
    """

    maker: str | None
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Flow:
    """How 8 bits flow between what computes; what moves values, and rectifiers, are not seen.

    Attributes:
        convs: names of the layers that multiply in int8 in the all-int8 model.
        between: the other nodes that are, in graph order, and what computes what they take, or None.
        sums: those of them that need all that they take in 8 bits.
        activations: by name.
        products: those of the layers that are matrix products, whose sums are float32 in any case.
    """

    convs: tuple[str, ...]
    between: Mapping[str, tuple[str | None, ...]]
    sums: frozenset[str]
    activations: Mapping[str, Activation]
    products: frozenset[str] = frozenset()

    @classmethod
    def of(cls, graph: onnx.GraphProto, int8: Sequence[str], names: Sequence[str]) -> Flow:
        """Read off the fp32 graph.

        Args:
            int8: nodes that compute on 8 bits in the all-int8 model.
            names: of the tensors that it holds in 8 bits.
        """
        made, uses = producers(graph), readers(graph)
        stored = {tensor.name for tensor in graph.initializer}

        def passes(node: onnx.NodeProto) -> bool:
            return moves_values(node) or node.op_type in RECTIFIERS

        def maker(tensor: str) -> str | None:
            node = made.get(tensor)
            if node is None:
                return None
            return maker(node.input[0]) if passes(node) else node.name

        def following(tensor: str) -> Iterator[str]:
            for reader, _ in uses.get(tensor, ()):
                if passes(reader):
                    for result in reader.output:
                        yield from following(result)
                else:
                    yield reader.name

        chosen = [node for node in graph.node if node.name in set(int8) and not passes(node)]
        between = {
            node.name: tuple(maker(name) for name in node.input if name and name not in stored)
            for node in chosen
            if node.op_type not in ("Conv", *PRODUCT_OPS)
        }
        return cls(
            tuple(node.name for node in chosen if node.name not in between),
            between,
            frozenset(node.name for node in chosen if node.op_type in SUMS),
            {name: Activation(maker(name), tuple(dict.fromkeys(following(name)))) for name in names},
            frozenset(node.name for node in chosen if node.op_type in PRODUCT_OPS),
        )

    @cached_property
    def _read_by(self) -> Mapping[str, frozenset[str]]:
        """What computes on what each node makes."""
        found: dict[str, set[str]] = {}
        for activation in self.activations.values():
            if activation.maker is not None:
                found.setdefault(activation.maker, set()).update(activation.readers)
        return {name: frozenset(names) for name, names in found.items()}

    def int8(self, state: State) -> tuple[frozenset[str], frozenset[str]]:
        """Names of what writes 8 bits, and of what reads them."""
        reading = set(self.convs) - state.kept
        writing = reading - state.unrounded - self.products

        def given(name: str | None) -> bool:
            return name in writing or any(reader in reading for reader in self._read_by.get(name or "", ()))

        for name, sources in self.between.items():
            if (all if name in self.sums else any)(given(source) for source in sources):
                reading.add(name)
                writing.add(name)
        return frozenset(writing), frozenset(reading)

    def regions(self, pointwise: Sequence[str] = ()) -> list[Region]:
        """Candidates: the smaller first.

        Args:
            pointwise: convolutions whose sums may stay float32.
        """
        alone = [Region(name, (name,)) for name in self.convs]
        chains = [Region(f"up to {group[-1]}", group) for group in self._groups(self.convs)]
        adds = [name for name in self.between if name in self.sums]
        feeding = [Region(f"what feeds {name}", self._feeding([name])) for name in adds]
        stages = [Region(f"what feeds {group[0]} … {group[-1]}", self._feeding(group)) for group in self._groups(adds)]
        single = [Region(f"sums of {name}", (name,), unrounded=True) for name in self.convs]
        sums = [Region(f"sums of {region.name}", region.convs, unrounded=True) for region in (*feeding, *stages)]
        allowed = [
            Region(r.name, tuple(name for name in r.convs if name in set(pointwise)), unrounded=True)
            for r in (*single, *sums)
        ]
        found = {(r.convs, r.unrounded): r for r in (*stages, *feeding, *chains, *alone, *allowed) if r.convs}
        return sorted(found.values(), key=lambda region: len(region.convs))

    def _feeding(self, adds: Sequence[str]) -> tuple[str, ...]:
        sources = {source for add in adds for source in self.between[add]}
        return tuple(name for name in self.convs if name in sources)

    def _groups(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Those of the nodes that read from one another directly, together."""
        group = {name: name for name in names}

        def root(name: str) -> str:
            return name if group[name] == name else root(group[name])

        for name in names:
            for reader in self._read_by.get(name, ()):
                if reader in group:
                    group[root(reader)] = root(name)
        found: dict[str, list[str]] = {}
        for name in names:
            found.setdefault(root(name), []).append(name)
        return [tuple(members) for members in found.values() if len(members) > 1]


@dataclass(frozen=True)
class Prices:
    """What rounding and running costs, each node and tensor by itself.

    Attributes:
        flow: of the 8 bits.
        activations, weights: error of the logits that rounding one alone makes, by tensor and by convolution.
        fp32_ms, int8_ms: by node; what has none costs nothing by itself.
        elements: of each activation.
        pass_ms: of one pass over one element.
    """

    flow: Flow
    activations: Mapping[str, float]
    weights: Mapping[str, float]
    fp32_ms: Mapping[str, float] = field(default_factory=dict)
    int8_ms: Mapping[str, float] = field(default_factory=dict)
    elements: Mapping[str, int] = field(default_factory=dict)
    pass_ms: float = 0.0

    def of(self, state: State) -> tuple[float, float]:
        """(error of the logits, milliseconds)."""
        writing, reading = self.flow.int8(state)
        error = sum(self.weights.get(name, 0.0) for name in self.flow.convs if name not in state.kept)
        ms = sum((self.int8_ms if n in reading else self.fp32_ms).get(n, 0.0) for n in self.flow.convs)
        ms += sum((self.int8_ms if n in writing else self.fp32_ms).get(n, 0.0) for n in self.flow.between)
        passes = 0
        for name, activation in self.flow.activations.items():
            written = activation.maker in writing
            read = any(reader in reading for reader in activation.readers)
            error += self.activations.get(name, 0.0) if written or read else 0.0
            crosses = (read and not written) or (written and not all(r in reading for r in activation.readers))
            unrounded = UNROUNDED_PASSES if activation.maker in state.unrounded else EDGE_PASSES
            passes += self.elements.get(name, 0) * (unrounded if crosses or activation.maker in state.unrounded else 0)
        return error, ms + passes * self.pass_ms


@dataclass(frozen=True)
class Step:
    """A state on the way from all int8 to all fp32.

    Attributes:
        region: that was changed last; None at the beginning.
        error, ms: as told by the prices.
    """

    state: State
    region: str | None
    error: float
    ms: float


def path(prices: Prices, regions: Sequence[Region]) -> list[Step]:
    """From all int8 to all fp32, each step by the region that takes off most error for a millisecond."""
    error, ms = prices.of(State())
    steps = [Step(State(), None, error, ms)]
    left = list(regions)
    while left:
        now = steps[-1]
        changes = {region: region.on(now.state) for region in left}
        left = [region for region, state in changes.items() if state != now.state]
        told = {region: prices.of(changes[region]) for region in left}
        if not told:
            break
        gain = _gain_over(now, told)
        best = max(left, key=gain)
        if now.error - told[best][0] <= 0:
            break
        steps.append(Step(changes[best], best.name, *told[best]))
    everything = State(frozenset(prices.flow.convs))
    if steps[-1].state != everything:
        steps.append(Step(everything, "all", *prices.of(everything)))
    return steps


def between(prices: Prices, low: Step, high: Step) -> list[Step]:
    """From one step of a path to a later one, a convolution at a time, by the same order."""
    kept, unrounded = high.state.kept - low.state.kept, high.state.unrounded - low.state.unrounded
    left = [Region(name, (name,)) for name in prices.flow.convs if name in kept]
    left += [Region(f"sums of {name}", (name,), unrounded=True) for name in prices.flow.convs if name in unrounded]
    steps = [low]
    while left:
        now = steps[-1]
        told = {region: prices.of(region.on(now.state)) for region in left}
        best = max(left, key=_gain_over(now, told))
        left.remove(best)
        steps.append(Step(best.on(now.state), best.name, *told[best]))
    return steps


def _gain_over(now: Step, told: Mapping[Region, tuple[float, float]]) -> Callable[[Region], tuple[float, float]]:
    def gain(region: Region) -> tuple[float, float]:
        error, ms = told[region]
        return (now.error - error) / max(ms - now.ms, TINY_MS), now.error - error

    return gain
