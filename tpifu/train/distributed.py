"""Data-parallel training in the processes that `torchrun` starts, or else in a single process.

Each rank reads its share of every batch. Gradients are averaged, so all ranks have equal weights.
Only the main process, rank 0, writes files.
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

TIMEOUT = timedelta(seconds=45)
"""Longest time that a process waits for the others."""


@dataclass(frozen=True)
class Processes:
    """This process and the number of processes that train together."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def wrap(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network, with gradients averaged over the ranks after each backward pass."""
        if self.world_size == 1:
            return network
        device = next(network.parameters()).device
        return DistributedDataParallel(
            network,
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
        )

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the ranks."""
        if self.world_size > 1:
            dist.all_reduce(value)
            value /= self.world_size
        return value

    def any(self, value: bool, device: torch.device) -> bool:
        """Whether the value is true on any rank."""
        if self.world_size == 1:
            return value
        return bool(self.mean(torch.tensor(float(value), device=device)))

    def broadcast(self, value: Any) -> Any:
        """The value of the main process."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]


@contextmanager
def start_distributed(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Join the processes that torchrun's environment variables describe, by nccl on GPUs and gloo
    on CPUs. Yields them and the device of this process.

    Raises ConfigError if there are fewer GPUs than processes, and DataError if another process
    ends or stalls.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Processes(), device
        return
    if device.type == "cuda":
        local_rank, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local_rank >= count:
            raise ConfigError(
                f"{world_size} processes, but {count} CUDA devices; start one process per device"
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    rank = int(os.environ.get("RANK", "0"))
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
        yield Processes(rank, world_size), device
    except RuntimeError as error:
        # gloo has no exception class of its own.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        reason = (str(error).splitlines() or [""])[0][:200]
        raise DataError(
            f"rank {rank} of {world_size} lost the other processes or never found them ({reason}); "
            "start all of them again to resume from the last checkpoint"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
