"""Training for a given time instead of a number of steps, with everything on the device.

The cosine runs over time: the learning rate reaches 0 when the time is over, however fast the
device turned out to be. Nothing waits for the device between two reports.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tpifu.config import Precision, Train
from tpifu.dataset.resident import ResidentSteps
from tpifu.dataset.windows import Batch
from tpifu.measures.points import THRESHOLD, mean_metrics, point_metrics
from tpifu.model.hourglass import StackedHourglass
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
    """When a training ends: at whichever comes first."""

    seconds: float
    steps: int | None = None

    def progress(self, elapsed: float, step: int) -> float:
        """Share of the training that is done; it ends at 1."""
        return max(elapsed / self.seconds, step / self.steps if self.steps else 0.0)


@dataclass
class Curve:
    """One entry per step."""

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    dropped: int = 0
    """Steps whose gradients were not finite, and not used."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """The state of a training under way."""

    step: int
    progress: float
    loss: float
    """Mean since the last report."""
    average: PIFu
    """A network with the averaged weights, in evaluation mode."""


class Average:
    """Exponential moving average of a network's weights, in a network of its own."""

    def __init__(self, network: PIFu, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay, self._updates = decay, 0
        self._mean: list[Tensor] = list(self.network.parameters())
        self._live: list[Tensor] = list(network.parameters())

    @torch.no_grad()
    def update(self) -> None:
        """Early averages are short: the first weights are random."""
        self._updates += 1
        decay = min(self._decay, self._updates / (self._updates + 9))
        torch._foreach_lerp_(self._mean, self._live, 1 - decay)


def fit_timed(
    network: PIFu,
    steps: ResidentSteps,
    config: Train,
    limit: Limit,
    watch: Callable[[Report], None],
    *,
    parts: int = 1,
    precision: Precision = "float32",
) -> tuple[PIFu, Curve]:
    """Train in place; returns a network with the averaged weights. `watch` sees every report and
    the end. `config` gives the learning rate, warm-up and optimizer alone."""
    updaters = optimizers(config.optimizer, network)
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
        rate = learning_rate(config, len(curve.rates), progress)
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
    """One step; returns its loss, and whether its gradients were finite, both on the device.
    Gradients that are not count as 0."""
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


def speed(
    network: PIFu,
    steps: ResidentSteps,
    config: Train,
    seconds: float,
    *,
    parts: int = 1,
    precision: Precision = "float32",
) -> float:
    """Windows per second in training, measured over `seconds` after two steps. Changes the
    network."""
    updaters = optimizers(config.optimizer, network)

    def step() -> None:
        update(network, updaters, steps.draw(parts), 1e-6, precision)

    for _ in range(2):
        step()
    wait(steps.data.images.device)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(4):
            step()
        wait(steps.data.images.device)
        count += 4
    return count * config.batch_size / (time.perf_counter() - began)


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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


def compile_filter(network: PIFu, first_step: Callable[[], object]) -> str | None:
    """Compile the image filter, for images of one shape, and take the first step with it; returns
    why that failed, and leaves the filter as it was, or None."""
    try:
        network.image_filter.compile(dynamic=False)
        first_step()
    except Exception as error:  # of Dynamo, Inductor, Triton, a C++ compiler, or a time limit
        network.image_filter._compiled_call_impl = None
        torch._dynamo.reset()
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None


def use_filter(network: PIFu, image_filter: StackedHourglass) -> None:
    """Replace a network's filter by one that may be compiled; the network's weights stay."""
    image_filter.load_state_dict(network.image_filter.state_dict())
    network.image_filter = image_filter
