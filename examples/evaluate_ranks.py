"""Evaluate with a process a GPU: torchrun --nproc-per-node 8 examples/evaluate_ranks.py MODEL DATA OUTPUT."""

import os
import sys

import torch
import torch.distributed as dist

import pushpull

model, data, output = sys.argv[1:]
cuda = torch.cuda.is_available()
if cuda:
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
splits = pushpull.load_data(data)
network = pushpull.load_network(model, classes=splits.classes)
results = pushpull.evaluate(network, splits, output=output, device="cuda" if cuda else "cpu", workers=8)
if dist.get_rank() == 0:
    print(f"clean error {100 * results.clean_error:.1f} %; {output}/results.json has all")
dist.destroy_process_group()
