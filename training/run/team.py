"""Several processes that train one model together, as torchrun starts them; alone a process is the first of one.

Their losses are averaged in optimization.batch_loss, their figures added up at the end of train_epoch.
"""

import contextlib
import datetime
import os
import sys
from dataclasses import dataclass

import torch
from torch import nn


WAIT = datetime.timedelta(hours=1)      # the first writes files while the others wait for it


@dataclass(frozen=True)
class Team:
    """This process's place among those that train one model together; alone it is the first of one."""
    rank: int = 0
    size: int = 1
    hosts: object = None        # a group for what the hosts tell each other, beside the devices' own

ALONE = Team()


def join_team():
    """Join those that torchrun started with this process; the first of them alone speaks and writes files."""
    if not {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() or os.environ["WORLD_SIZE"] == "1":
        return ALONE
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo",
                                         timeout=WAIT)
    if rank:
        sys.stdout = open(os.devnull, "w")
    return Team(rank, size, torch.distributed.new_group(backend="gloo", timeout=WAIT))


def leave_team(team):
    if team.size > 1:
        torch.distributed.destroy_process_group()


def with_team(model, team):
    """The model to train: itself, or torch's DistributedDataParallel around it."""
    if team.size == 1:
        return model
    return nn.parallel.DistributedDataParallel(model)     # device_ids would move the lengths to the device too


def exchange_gradients(model, now):
    """A context for a forward and a backward pass; of several processes it gives each the others' gradients, if now."""
    if now or not isinstance(model, nn.parallel.DistributedDataParallel):
        return contextlib.nullcontext()
    return model.no_sync()


def highest_of(team, number):
    """The highest of the processes' numbers."""
    if team.size == 1:
        return number
    highest = torch.tensor(number)
    torch.distributed.all_reduce(highest, torch.distributed.ReduceOp.MAX, group=team.hosts)
    return int(highest)


def add_up(team, numbers):
    """The sums of the processes' numbers, each the same whatever process asks."""
    if team.size == 1:
        return numbers
    total = torch.tensor(numbers, dtype=torch.float64)
    torch.distributed.all_reduce(total, group=team.hosts)
    return total.tolist()


def from_all(team, value):
    """The values that the processes have, as a list."""
    values = [value] * team.size
    if team.size > 1:
        torch.distributed.all_gather_object(values, value, group=team.hosts)
    return values


def gathered(team, tensors):
    """The tensors on the CPU, those of all processes one after the other; None: this process has none."""
    of_all = from_all(team, [None if tensor is None else tensor.cpu() for tensor in tensors])
    return [torch.cat([tensor for tensor in of_each if tensor is not None]) for of_each in zip(*of_all)]


def share_statistics(model, team):
    """BatchNorm's running statistics as the first process has them."""
    for statistics in model.buffers() if team.size > 1 else ():
        torch.distributed.broadcast(statistics, src=0)


def told_by_the_first(team, value):
    """What the first process has, in all of them."""
    if team.size == 1:
        return value
    values = [value]
    torch.distributed.broadcast_object_list(values, src=0, group=team.hosts)
    return values[0]
