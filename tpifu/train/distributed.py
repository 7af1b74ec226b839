"""Several processes that train one run together, as `torchrun` starts them; alone otherwise.

Every process reads its own share of each batch, gradients are averaged, so all hold the same
network. The leader alone writes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tpifu.errors import ConfigError, DataError

PATIENCE = timedelta(seconds=45)
"""How long a process waits for the others before it gives up."""


@dataclass(frozen=True)
class Team:
    """This process among `world` that train together."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def joined(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network, its gradients averaged over the team after each backward pass."""
        if self.world == 1:
            return network
        device = next(network.parameters()).device
        return DistributedDataParallel(
            network,
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
        )

    def mean(self, value: Tensor) -> Tensor:
        """The mean of the processes' values."""
        if self.world > 1:
            dist.all_reduce(value)
            value /= self.world
        return value

    def from_leader(self, value: Any) -> Any:
        """The leader's value."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]


@contextmanager
def assembled(device: torch.device) -> Iterator[tuple[Team, torch.device]]:
    """The team that torchrun's variables name (nccl on GPUs, gloo elsewhere) and this process's
    device.

    Raises DataError, in every process that is left, if another one of the team ends or stalls.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Team(), device
        return
    if device.type == "cuda":
        local, present = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= present:
            raise ConfigError(f"{world} processes, {present} CUDA devices here: start one for each")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    rank = int(os.environ.get("RANK", "0"))
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        yield Team(rank, world), device
    except RuntimeError as error:
        if not _of_the_others(error):
            raise
        first = (str(error).splitlines() or [""])[0][:200]
        raise DataError(
            f"process {rank} of {world} lost the others, or never found them ({first}); start all "
            "again: training goes on from the last checkpoint"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _of_the_others(error: RuntimeError) -> bool:
    """Whether a peer is gone. What gloo raises then has no class of its own, but its name."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
