"""The processes that torchrun or srun has started are the devices of one training."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.distributed as dist

from pushpull.errors import InputError
from pushpull.evaluation.ranks import meet, named_when_ended
from pushpull.training.recipe import Recipe

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_OTHERS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


class Launch(NamedTuple):
    """What a launcher says: its name, this process, and how many there are, on this machine and in all."""

    by: str
    rank: int
    world: int
    local_rank: int
    local: int


def launch() -> Launch | None:
    """Return what started this process as one of several, None where nothing did.

    Raises:
        InputError: variables that do not fit together, or a launcher that is not known here.
    """
    of = os.environ
    if _number("WORLD_SIZE", 1) > 1 and "RANK" in of:
        world = _number("WORLD_SIZE", 1)
        number = _number("RANK", 0)
        found = Launch("torchrun", number, world, _number("LOCAL_RANK", number), 0)
        local = _number("LOCAL_WORLD_SIZE", world)
    elif _number("SLURM_NTASKS", 1) > 1 and "SLURM_PROCID" in of and "LOCAL_RANK" not in of:
        world = _number("SLURM_NTASKS", 1)
        nodes = _number("SLURM_NNODES", _number("SLURM_JOB_NUM_NODES", 1))
        local = world // nodes if world % nodes == 0 else 0
        number = _number("SLURM_PROCID", 0)
        found = Launch("SLURM", number, world, _number("SLURM_LOCALID", number % max(local, 1)), 0)
    else:
        for name in _OTHERS:
            if _number(name, 1) > 1 and "LOCAL_RANK" not in of and "SLURM_PROCID" not in of:
                raise InputError(
                    f"{name}={of[name]}: another launcher has started this as one of several processes; use "
                    "torchrun or srun, or start it once and give --devices"
                )
        return None
    if local < 1 or found.world % local or not 0 <= found.rank < found.world:
        raise InputError(
            f"{found.by} started {found.world} processes, not equally many on every machine ({local} on that "
            f"of rank {found.rank}); start the same number on each"
        )
    return found._replace(local=local)


def _number(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, default))
    except ValueError as error:
        raise InputError(f"{name}={os.environ[name]!r} is not a number; unset it") from error


def with_launched(recipe: Recipe) -> Recipe:
    """Return the recipe with as many devices and machines as a launcher has started processes for.

    Raises:
        InputError: the recipe asks for others.
    """
    found = launch()
    if found is None:
        return recipe
    there, asked = (found.local, found.world // found.local), (recipe.device_count, recipe.num_nodes)
    if asked not in ((1, 1), there):
        raise InputError(
            f"the recipe has devices={asked[0]} and num_nodes={asked[1]}, but {found.by} started "
            f"{there[0]} processes on each of {there[1]} machines; leave both settings out, or start "
            "it without"
        )
    return replace(recipe, devices=there[0], num_nodes=there[1])


def refuse_several(command: str) -> None:
    """Raise `InputError` in every process where a launcher has started several of what works in one."""
    found = launch()
    # A batch script of SLURM has its variables too, without srun, which says a step.
    if found and (found.by != "SLURM" or found.rank or "SLURM_STEP_ID" in os.environ):
        raise InputError(
            f"{found.by} started {found.world} processes, but pushpull {command} works in one; "
            "start it without"
        )


@contextmanager
def process_group(recipe: Recipe) -> Iterator[None]:
    """Join the processes of a launcher; without one, nothing. It is left in the end.

    Raises:
        InputError: they do not find each other, or one has ended and this one cannot go on without it.
    """
    found = launch()
    if found is None or dist.is_initialized():
        yield
        return
    if found.by == "SLURM":
        _as_torchrun(found)
    cuda = recipe.accelerator in ("auto", "cuda") and torch.cuda.is_available()
    try:
        with _ended_by_signals():
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
        meet()
    except (RuntimeError, ValueError) as error:  # an address that is taken, processes that do not come
        text = str(error).splitlines()[0]
        raise InputError(
            f"the {found.world} processes of {found.by} did not find each other ({text}); MASTER_ADDR and "
            "MASTER_PORT say where the first one listens"
        ) from error
    try:
        with named_when_ended():
            yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGINT end the process at once: Python's handlers wait while torch waits for ranks.

    Nothing is lost: nothing has begun.
    """
    mine = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _SIGNALS} if mine else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_torchrun(found: Launch) -> None:
    """Say in torchrun's variables what SLURM says in its own, so that one form is read further on."""
    from lightning.fabric.plugins.environments import SLURMEnvironment

    of = os.environ
    nodes = of.get("SLURM_NODELIST") or of.get("SLURM_JOB_NODELIST") or "127.0.0.1"
    of.setdefault("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(nodes))
    of.setdefault("MASTER_PORT", str(15000 + int(of.get("SLURM_JOB_ID", "0")[-4:])))
    of |= {"RANK": str(found.rank), "WORLD_SIZE": str(found.world), "LOCAL_RANK": str(found.local_rank)}
    of |= {"LOCAL_WORLD_SIZE": str(found.local), "GROUP_RANK": str(found.rank // found.local)}
    if found.rank == 0 and "SLURM_STEP_ID" not in of:
        print(f"waiting for {found.world - 1} more processes of SLURM, which srun starts", file=sys.stderr)
