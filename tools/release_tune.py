"""Choose the network and its execution by timing training steps on this device."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from release_log import Log, time_limit
from release_recipe import NEIGHBORHOOD, WINDOW, Recipe
from release_resident import Resident, ResidentSteps
from release_timed import update

from tpifu.config import Model, Precision
from tpifu.model.hourglass import StackedHourglass
from tpifu.model.pifu import PIFu
from tpifu.train.optimizers import optimizers

COMPILED_GAIN = 1.5
"""Assumed speed-up of compiled steps over eager ones, used to choose the network."""


@dataclass(frozen=True)
class Tuned:
    """The chosen network and its measured speed."""

    model: Model
    image_filter: StackedHourglass
    """Image filter of the chosen network, possibly compiled."""
    compiled: bool
    speeds: dict[str, float]
    """Training speed of each model, windows per second."""


def parts_of(steps: ResidentSteps, images: int) -> int:
    """Number of parts in a step if each part filters `images` images."""
    parts, rest = divmod(steps.images, images)
    assert rest == 0, f"{steps.images} images cannot be split into parts of {images}"
    return parts


def new_network(model: Model, seed: int, device: torch.device) -> PIFu:
    """Create a network. The seed gives both models the same initial filter."""
    torch.manual_seed(seed)
    return PIFu(model, WINDOW).to(device).train()


def noise(recipe: Recipe, device: torch.device) -> Resident:
    """Random data with the shapes of a split, for timing steps."""
    size, pool = recipe.render.size, recipe.sample.near_surface + recipe.sample.uniform
    clips, frames = 4, recipe.train.batch_size // 2
    meshes = clips * frames
    return Resident(
        images=torch.randint(256, (meshes, 1, size, size, 2), dtype=torch.uint8, device=device),
        codes=torch.randint(-9000, 9000, (meshes, pool, 3), dtype=torch.int16, device=device),
        inside=torch.rand(meshes, pool, device=device) < 0.4,
        calib=torch.eye(3, 4, device=device).expand(clips, 1, 3, 4) / (WINDOW / 2),
        first=torch.arange(0, meshes, frames, device=device),
        length=torch.full((clips,), frames, device=device),
    )


def tune(
    recipe: Recipe,
    device: torch.device,
    precision: Precision,
    *,
    training: float,
    compiling: float,
    log: Log,
) -> Tuned:
    """Choose the widest network that can see `recipe.windows` windows in `training` seconds for
    both models together, or nearly as many as the fastest one. Compile its filter if that takes at
    most `compiling` seconds and is faster."""
    data = noise(recipe, device)

    def rate(network: PIFu, model: Model) -> float:
        steps = ResidentSteps(data, recipe.train, model, 0)
        return speed(
            network,
            steps,
            recipe.measuring,
            parts=parts_of(steps, recipe.images),
            precision=precision,
        )

    def windows(baseline: float, temporal: float) -> float:
        """Number of windows that each model trains on at these speeds."""
        return training / (1 / baseline + 1 / temporal)

    candidates = []
    for model in recipe.networks:
        single, several = model.with_window(1), model.with_window(NEIGHBORHOOD["temporal"])
        network = new_network(single, 0, device)
        steps = ResidentSteps(data, recipe.train, single, 0)
        baseline = rate(network, single)
        # The filter takes most of the time.
        temporal = baseline * steps.images / ResidentSteps(data, recipe.train, several, 0).images
        expected = COMPILED_GAIN * windows(baseline, temporal)
        log(f"dim {model.hourglass.dim}: {baseline:.0f} windows/s eager, {expected:.0f} expected")
        candidates.append((expected, baseline, model, single, several, network, steps))
        if expected >= recipe.windows:
            break
    # Choose a narrower network only if it is faster: kernel launches can take equally long.
    enough = min(recipe.windows, 0.9 * max(candidate[0] for candidate in candidates))
    chosen = next(candidate for candidate in candidates if candidate[0] >= enough)
    _, baseline, model, single, several, network, steps = chosen

    if compiling:
        updaters, parts = (
            optimizers(recipe.train.optimizer, network),
            parts_of(steps, recipe.images),
        )
        with log.part("compile"), time_limit(compiling):
            fault = compile_filter(
                network, lambda: update(network, updaters, steps.draw(parts), 1e-6, precision)
            )
        if fault is None:
            compiled = rate(network, single)
            log(f"compiled: {compiled:.0f} windows/s")
            if compiled < baseline:
                network.image_filter._compiled_call_impl = None
            baseline = max(baseline, compiled)
        else:
            log(f"not compiled: {fault}")

    wide = new_network(several, 0, device)
    use_filter(wide, network.image_filter)
    temporal = rate(wide, several)
    log(f"temporal: {temporal:.0f} windows/s; {windows(baseline, temporal):.0f} windows each")
    return Tuned(
        model=model,
        image_filter=network.image_filter,
        compiled=network.image_filter._compiled_call_impl is not None,
        speeds={"baseline": baseline, "temporal": temporal},
    )


def speed(
    network: PIFu,
    steps: ResidentSteps,
    seconds: float,
    *,
    parts: int = 1,
    precision: Precision = "float32",
) -> float:
    """Windows per second of training, measured for `seconds` after two steps. Changes the
    network."""
    updaters = optimizers(steps.train.optimizer, network)

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
    return count * steps.train.batch_size / (time.perf_counter() - began)


def wait(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compile_filter(network: PIFu, first_step: Callable[[], object]) -> str | None:
    """Compile the image filter for images of one shape, and take the first step. If that fails,
    returns the reason and leaves the filter uncompiled."""
    try:
        network.image_filter.compile(dynamic=False)
        first_step()
    except Exception as error:  # from Dynamo, Inductor, Triton, a C++ compiler, or a time limit
        network.image_filter._compiled_call_impl = None
        torch._dynamo.reset()
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None


def use_filter(network: PIFu, image_filter: StackedHourglass) -> None:
    """Replace a network's filter with one that may be compiled. The weights stay the same."""
    image_filter.load_state_dict(network.image_filter.state_dict())
    network.image_filter = image_filter
