"""Several processes, of torchrun, of SLURM or our own, are one training; one that is killed is named."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pushpull import InputError, Results
from pushpull.training import Recipe, read_recipe
from pushpull.training.launched import launch, refuse_several, with_launched

TRAIN = [
    *("-m", "pushpull", "train", "--config", "digits", "--data.fraction", "0.05", "--batch_size", "16"),
    *("--accelerator", "cpu", "--workers", "0"),
]


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "PMI_"))]:
        monkeypatch.delenv(name)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def tasks(folder, *words):
    """Start two processes as srun would."""
    common = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "7", "MASTER_PORT": str(free_port())}
    return [
        subprocess.Popen(
            [sys.executable, *TRAIN, "--output", folder, *words],
            env=os.environ | common | {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]


def ended(processes, timeout=150):
    try:
        said = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], said


def test_two_tasks_of_slurm_are_one_training_and_a_refusal_is_everybodys(tmp_path):
    folder = tmp_path / "run"
    codes, said = ended(tasks(folder, "--epochs", "1"))
    assert codes == [0, 0], said
    assert "".join(out for out, _ in said).count("holds the run") == 1
    assert read_recipe(folder / "recipe.yaml").devices == 2
    assert Results.load(folder).clean is not None
    codes, said = ended(tasks(folder, "--epochs", "1"))
    assert codes == [2, 2], said
    for _, error in said:
        lines = [line for line in error.splitlines() if line.startswith("pushpull: error: ")]
        assert len(lines) == 1, error
        assert "holds a run already" in lines[0]
        assert "Traceback" not in error


def test_torchrun_is_one_training(tmp_path):
    folder = tmp_path / "run"
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    done = subprocess.run(
        [sys.executable, *launcher, *TRAIN, "--epochs", "1", "--output", folder],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("holds the run") == 1
    assert done.stderr.count("epoch 1/1") == 1
    assert read_recipe(folder / "recipe.yaml").devices == 2


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}, "torchrun started 3"),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_NNODES": "1"}, "SLURM started 4"),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_NNODES": "3"}, "not equally many on every"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "another launcher"),
        ({"RANK": "0", "WORLD_SIZE": "many"}, "is not a number"),
    ],
)
def test_what_cannot_be_meant_is_refused(monkeypatch, variables, said):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said):
        with_launched(replace(Recipe(), devices=2))


def test_the_world_of_a_launcher_is_taken(monkeypatch):
    assert with_launched(Recipe()) == Recipe()
    for name, value in {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_NNODES": "2"}.items():
        monkeypatch.setenv(name, value)
    taken = with_launched(Recipe())
    assert (taken.devices, taken.num_nodes) == (2, 2)
    assert launch().local_rank == 1
    with pytest.raises(InputError, match="pushpull evaluate works in one"):
        refuse_several("evaluate")


def children_of(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and "pushpull" in (path.parent / "cmdline").read_text():
            found.append(int(path.parent.name))
    return found


def two_ranks(folder):
    """Start a training on two devices and wait for its first epoch; return both processes."""
    run = subprocess.Popen(
        [sys.executable, *TRAIN, "--epochs", "200", "--devices", "2", "--output", folder],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = ""
    while "epoch 1/" not in said:
        line = run.stderr.readline()
        assert line, said
        said += line
    (other,) = children_of(run.pid)
    return run, other


@pytest.mark.parametrize("which", [0, 1])
def test_a_rank_that_is_killed_is_named_and_the_other_ends(tmp_path, which):
    run, other = two_ranks(tmp_path / "run")
    killed = (run.pid, other)[which]
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    said = run.stderr.read()  # until both have ended
    assert time.monotonic() - began < 60
    assert run.wait(timeout=10) == (-signal.SIGKILL, 2)[which]
    lines = [line for line in said.splitlines() if not re.match(r"epoch \d+/", line)]
    assert len(lines) == 1, said
    assert f"rank {which} (process {killed}) ended before the others" in lines[0]


JOINS = """
import os, sys, torch.distributed as dist
from pushpull.errors import InputError
from pushpull.training import Recipe
from pushpull.training.launched import process_group
try:
    with process_group(Recipe(accelerator="cpu")):
        if os.environ["RANK"] == "1":
            os._exit(9)
        dist.barrier()
except InputError as error:
    sys.exit(str(error))
"""


def test_a_rank_that_ends_before_the_training_begins_is_named():
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    common["MASTER_PORT"] = str(free_port())
    both = [
        subprocess.Popen(
            [sys.executable, "-c", JOINS],
            env=os.environ | common | {"RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    codes, said = ended(both)
    assert codes == [1, 9], said
    assert f"rank 1 (process {both[1].pid}) ended before the others" in said[0][1]
    assert "Traceback" not in said[0][1]


def test_sigterm_ends_a_rank_that_waits_for_others():
    script = (
        f"import signal\nsignal.signal(signal.SIGTERM, lambda *_: None)\nprint('on', flush=True)\n{JOINS}"
    )
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    alone = subprocess.Popen(
        [sys.executable, "-c", script.replace("    with ", "    print('joins', flush=True)\n    with ")],
        env=os.environ | place | {"RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert [alone.stdout.readline().strip() for _ in range(2)] == ["on", "joins"]
    time.sleep(3)  # it waits by now
    alone.terminate()
    try:
        assert alone.wait(timeout=30) == -signal.SIGTERM
    finally:
        alone.kill()


def test_sigterm_to_all_ends_within_30_s(tmp_path):
    run, _ = two_ranks(tmp_path / "run")
    os.killpg(run.pid, signal.SIGTERM)
    began = time.monotonic()
    said = run.stderr.read()
    assert time.monotonic() - began < 30
    assert run.wait(timeout=10) == 143
    lines = [line for line in said.splitlines() if not re.match(r"epoch \d+/", line)]
    assert len(lines) == 1, said
    assert re.match(r"pushpull: stopped in epoch \d+ of 200 with a checkpoint; go on with: ", lines[0])
