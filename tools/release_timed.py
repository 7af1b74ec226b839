"""Training for a given time instead of a number of steps, with everything on the device.

The cosine runs over time: the learning rate reaches 0 when the time is over, however fast the
device is. Nothing waits for the device between two reports.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from release_resident import ResidentSteps
from torch import Tensor

from tpifu.config import Precision
from tpifu.dataset.windows import Batch
from tpifu.measures.points import THRESHOLD, mean_metrics, point_metrics
from tpifu.model.pifu import PIFu
from tpifu.train.optimizers import learning_rate, optimizers
from tpifu.train.step import add_gradients
from tpifu.train.validation import MEASURES

REPORT_EVERY = 50
"""Steps between two reports, which wait for the device."""
AVERAGING = 0.995
"""Decay per step of the averaged weights: their horizon is 200 steps."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Training ends after this time or number of steps, whichever comes first."""

    seconds: float
    steps: int | None = None

    def progress(self, elapsed: float, step: int) -> float:
        """Share of the training that is complete, up to 1."""
        return max(elapsed / self.seconds, step / self.steps if self.steps else 0.0)


@dataclass
class Curve:
    """Losses and learning rates, one per step."""

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    dropped: int = 0
    """Number of steps that were skipped because their gradients were not finite."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """State of the training at a report."""

    step: int
    progress: float
    loss: float
    """Mean since the last report."""
    average: PIFu
    """A network with the averaged weights, in evaluation mode."""


class Average:
    """Exponential moving average of a network's weights, in a separate network."""

    def __init__(self, network: PIFu, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay, self._updates = decay, 0
        self._mean: list[Tensor] = list(self.network.parameters())
        self._live: list[Tensor] = list(network.parameters())

    @torch.no_grad()
    def update(self) -> None:
        """Early averages span few steps, because the first weights are random."""
        self._updates += 1
        decay = min(self._decay, self._updates / (self._updates + 9))
        torch._foreach_lerp_(self._mean, self._live, 1 - decay)


def fit_timed(
    network: PIFu,
    steps: ResidentSteps,
    limit: Limit,
    watch: Callable[[Report], None],
    *,
    parts: int = 1,
    precision: Precision = "float32",
) -> tuple[PIFu, Curve]:
    """Train in place. Returns a network with the averaged weights. `watch` is called at every
    report and at the end. `limit` replaces the number of steps in `steps.train`."""
    updaters = optimizers(steps.train.optimizer, network)
    average, curve = Average(network, AVERAGING), Curve()
    losses: list[Tensor] = []
    skipped: list[Tensor] = []
    began = time.perf_counter()

    def report(progress: float) -> None:
        values = torch.stack(losses).tolist()
        curve.losses += values
        curve.dropped += int(torch.stack(skipped).sum())
        curve.seconds = time.perf_counter() - began
        mean = sum(values) / len(values)
        losses.clear()
        skipped.clear()
        watch(Report(len(curve.losses), progress, mean, average.network))

    while (progress := limit.progress(time.perf_counter() - began, len(curve.rates))) < 1:
        rate = learning_rate(steps.train, len(curve.rates), progress)
        loss, finite = update(network, updaters, steps.draw(parts), rate, precision)
        average.update()
        losses.append(loss)
        skipped.append(~finite)
        curve.rates.append(rate)
        if len(losses) == REPORT_EVERY:
            report(progress)
    if losses:
        report(1.0)
    return average.network, curve


def update(
    network: PIFu,
    updaters: Sequence[torch.optim.Optimizer],
    batch: Sequence[Batch],
    rate: float,
    precision: Precision,
) -> tuple[Float[Tensor, ""], Bool[Tensor, ""]]:
    """Take one step. Returns its loss and whether its gradients were finite, both on the device. If
    they were not, they are replaced by 0."""
    for optimizer in updaters:
        for group in optimizer.param_groups:
            group["lr"] = rate
    network.zero_grad(set_to_none=True)
    loss = add_gradients(network, batch, precision)
    gradients = [value.grad for value in network.parameters() if value.grad is not None]
    finite = torch.stack(torch._foreach_norm(gradients)).isfinite().all()
    for gradient in gradients:
        gradient.masked_fill_(~finite, 0.0)
    for optimizer in updaters:
        optimizer.step()
    return loss, finite


@torch.no_grad()
def validated(network: PIFu, batches: Sequence[Batch]) -> dict[str, float]:
    """Means of MEASURES over all windows, at the last stack, in float32."""
    rows: list[dict[str, float]] = []
    for batch in batches:
        occupancy = network(batch.images, batch.frames, batch.points, batch.calib)[-1]
        inside = batch.labels.cpu().numpy() > THRESHOLD
        rows += map(point_metrics, occupancy.cpu().numpy(), inside)
    means = mean_metrics(rows)
    return {measure: means[measure] for measure in MEASURES}
