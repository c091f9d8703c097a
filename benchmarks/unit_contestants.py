"""What the unit's benchmark measures: layers, stems and networks, each beside its plain twin."""

from __future__ import annotations

import argparse
import copy
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timing import Timing, interleaved
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pushpull import PushPullConv2d, create_model, fuse_stem
from pushpull.unit.backends import cpu
from pushpull.unit.backends import triton as kernels

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PLAIN, PUBLISHED, EAGER, COMPILED, FUSED = "plain", "published form", "ours, eager", "ours, compiled", "fused"
# On a GPU the unit as it is, eager, is the fused form; the same without the kernels stands beside it.
OPERATIONS, PLAIN_COMPILED = "ours, plain operations", "plain, compiled"
OPERATIONS_COMPILED = "ours, plain operations, compiled"

# Ratios to the plain layer or network that are aimed at: (device, what, who) -> how many times, at most.
TARGETS = {
    ("cpu", "forward", EAGER): 2.2,
    ("cpu", "forward", COMPILED): 1.4,
    ("cpu", "forward + backward", EAGER): 2.5,
    ("cpu", "resnet50", EAGER): 1.08,
    ("cpu", "memory", EAGER): 1.3,
    ("cuda", "forward", FUSED): 1.15,
    ("cuda", "forward + backward", FUSED): 1.4,
    ("cuda", "stem", FUSED): 1.0,
    ("cuda", "resnet50, training", FUSED): 1.02,
    ("cuda", "memory", FUSED): 1.3,
}


# (kernel, stride, padding) of the first layer.
LAYERS = {"imagenet": (7, 2, 3), "cifar": (3, 1, 1)}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Setting(NamedTuple):
    """What all measurements of a run share."""

    device: torch.device
    dtype: torch.dtype
    batch: int
    network_batch: int
    size: int
    repeats: int
    threads: int
    compiler: str | None
    """Why nothing is compiled; None where it is."""
    layer: str = "imagenet"

    @classmethod
    def of(cls, options: argparse.Namespace) -> Setting:
        """Choose device and precision: fp32 on the CPU, bf16 on a GPU."""
        gpu = torch.cuda.is_available() and not options.cpu
        reason = None if options.compile else "not asked for"
        if reason is None and not gpu and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            reason = "no C++ compiler"
        return cls(
            torch.device("cuda" if gpu else "cpu"),
            _DTYPES[options.dtype or ("bf16" if gpu else "fp32")],
            options.batch,
            options.network_batch or (256 if gpu else 4),
            options.size,
            options.repeats,
            options.threads,
            reason,
            options.layer,
        )

    @property
    def ours(self) -> str:
        """What the unit as a user has it is called here."""
        return FUSED if self.device.type == "cuda" else EAGER

    def record(self) -> dict[str, Any]:
        """Return it for the record."""
        return {**self._asdict(), "device": self.device.type, "dtype": str(self.dtype).split(".")[1]}

    def placed(self, thing: Any, memory_format: str) -> Any:
        """Return a module or tensor on the device, in precision and memory format."""
        return thing.to(device=self.device, dtype=self.dtype, memory_format=FORMATS[memory_format])

    def images(self, count: int, memory_format: str) -> Tensor:
        """Return normal numbers as images."""
        torch.manual_seed(1)
        return self.placed(torch.randn(count, 3, self.size, self.size), memory_format)


class PlainOperations(nn.Module):
    """A module whose unit is plain operations: neither kernels on a GPU nor chunks on the CPU."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Return what the module returns."""
        before = kernels.DEVICES, cpu.DEVICES
        kernels.DEVICES, cpu.DEVICES = (), ()
        try:
            return self.module(x)
        finally:
            kernels.DEVICES, cpu.DEVICES = before


class Published(nn.Module):
    """The unit as its formula is published: two convolutions, a pooling, two rectifications."""

    def __init__(self, conv: nn.Conv2d, avg_kernel_size: int) -> None:
        super().__init__()
        self.conv = conv
        self.pool = nn.AvgPool2d(avg_kernel_size, 1, avg_kernel_size // 2, count_include_pad=False)
        self.side = avg_kernel_size

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(P) - relu(pool(Q)) + b."""
        weight, conv = self.conv.weight, self.conv
        contrast = weight.amax((1, 2, 3), keepdim=True) + weight.amin((1, 2, 3), keepdim=True)
        push = F.conv2d(x, weight, None, conv.stride, conv.padding)
        pull = F.conv2d(x, contrast - weight, None, conv.stride, conv.padding)
        pull = self.pool(pull) if self.side > 1 else pull
        return F.relu(push) - F.relu(pull) + conv.bias.reshape(-1, 1, 1)


def layers(setting: Setting, name: str, side: int, limits: dict[str, float]) -> dict[str, Any]:
    """Forward, forward + backward and peak memory of the first layer in all forms."""
    geometry = LAYERS[setting.layer]
    plain = setting.placed(nn.Conv2d(3, 64, *geometry), name)
    ours = setting.placed(PushPullConv2d(3, 64, *geometry, avg_kernel_size=side), name)
    modules: dict[str, Callable[[Tensor], Tensor]] = {
        PLAIN: plain,
        PUBLISHED: Published(plain, side),
        setting.ours: ours,
    }
    if setting.ours == FUSED:
        modules[OPERATIONS] = PlainOperations(ours)
    reasons = _compile(setting, modules, {COMPILED: ours})
    if setting.ours != FUSED:
        reasons[FUSED] = "not measured (no GPU)"
    x = setting.images(setting.batch, name)
    with torch.no_grad():
        y = plain(x)
    cotangent = torch.randn_like(y)
    forward = _inference(modules, x, setting)
    steps = {who: _step(module, x, cotangent) for who, module in modules.items()}
    both = interleaved(steps, repeats=setting.repeats)
    memory = {who: peak_bytes(step, setting.device) for who, step in steps.items()}
    bounds = _layer_floors(limits, x, y, geometry[0] ** 2)
    shape = "" if setting.layer == "imagenet" else f" {geometry[0]}x{geometry[0]} at {setting.size} px"
    return {
        "title": f"first layer{shape}, {name}, avg {side}, batch {setting.batch}",
        "rows": [
            *_rows(setting, "forward", forward, bounds, reasons),
            *_rows(setting, "forward + backward", both, bounds, reasons),
            *_memory_rows(setting, memory, y.nbytes, reasons),
        ],
        # What a pass over the whole response costs: the unit of what a slower form does more.
        "pass_ms": 1e3 * min(interleaved({"pass": lambda: F.relu(y)}, repeats=setting.repeats)["pass"]),
    }


def ways(setting: Setting, name: str, limits: dict[str, float]) -> dict[str, Any]:
    """The unit as it is computed here beside plain operations, eager and compiled: what its code is worth."""
    geometry = LAYERS[setting.layer]
    ours = setting.placed(PushPullConv2d(3, 64, *geometry), name)
    modules: dict[str, Any] = {
        PLAIN: setting.placed(nn.Conv2d(3, 64, *geometry), name),
        setting.ours: ours,
        OPERATIONS: PlainOperations(ours),
    }
    reasons = _compile(setting, modules, {OPERATIONS_COMPILED: ours})
    if OPERATIONS_COMPILED in modules:
        modules[OPERATIONS_COMPILED] = PlainOperations(modules[OPERATIONS_COMPILED])
    x = setting.images(setting.batch, name)
    with torch.no_grad():
        y = modules[PLAIN](x)
    cotangent = torch.randn_like(y)
    forward = _inference(modules, x, setting)
    steps = {who: _step(module, x, cotangent) for who, module in modules.items()}
    both = interleaved(steps, repeats=setting.repeats)
    bounds = _layer_floors(limits, x, y, geometry[0] ** 2)
    shape = f"{geometry[0]}x{geometry[0]} at {setting.size} px"
    return {
        "title": f"ways to compute the unit, {shape}, {name}, avg 3, batch {setting.batch}",
        "rows": [
            *_rows(setting, "forward", forward, bounds, reasons),
            *_rows(setting, "forward + backward", both, bounds, reasons),
        ],
    }


def _layer_floors(
    limits: dict[str, float], x: Tensor, y: Tensor, taps: int
) -> dict[tuple[str, str], dict[str, float]]:
    """Floors of the plain layer, and of the fused form, whose kernels follow the convolution: (what, who)."""
    operations = 2 * y.numel() * 3 * taps
    once, signs = y.nbytes, y.numel()
    return {
        ("forward", PLAIN): floor(limits, x.nbytes + once, operations),
        # x is read again for the weight's gradient, and the cotangent is read.
        ("forward + backward", PLAIN): floor(limits, 2 * x.nbytes + 2 * once, 2 * operations),
        # The response is written and read before y is written; then the cotangent and the signs, a byte each,
        # are read, and the response's gradient is written and read.
        ("forward", FUSED): floor(limits, x.nbytes + 3 * once, operations),
        ("forward + backward", FUSED): floor(limits, 2 * x.nbytes + 6 * once + 2 * signs, 2 * operations),
    }


def stems(setting: Setting, name: str, limits: dict[str, float]) -> dict[str, Any]:
    """Inference of a ResNet's first layer with batch norm, relu and max-pool."""

    def stem(first: nn.Module) -> nn.Module:
        whole = nn.Sequential(first, nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        return setting.placed(whole, name).eval()

    modules: dict[str, Any] = {
        PLAIN: stem(nn.Conv2d(3, 64, 7, 2, 3)),
        EAGER: stem(PushPullConv2d(3, 64, 7, 2, 3)),
    }
    modules[FUSED] = copy.deepcopy(modules[EAGER])
    fuse_stem(modules[FUSED])
    compiled = {COMPILED: modules[EAGER], PLAIN_COMPILED: modules[PLAIN]}
    reasons = _compile(setting, modules, compiled)
    x = setting.images(setting.batch, name)
    with torch.no_grad():
        y = modules[PLAIN](x)
    found = _inference(modules, x, setting)
    # The pooled response has a quarter of the pixels of the layer's.
    operations = 4 * 2 * y.numel() * 3 * 49
    bounds = {
        ("stem", PLAIN): floor(limits, x.nbytes + y.nbytes, operations),
        ("stem", FUSED): floor(limits, x.nbytes + 9 * y.nbytes, operations),
    }
    base = PLAIN_COMPILED if PLAIN_COMPILED in found else PLAIN
    title = f"stem (conv, batch norm, relu, max-pool), inference, {name}, avg 3, batch {setting.batch}"
    title += "; ratios to the compiled plain one" if base != PLAIN else ""
    return {"title": title, "base": base, "rows": _rows(setting, "stem", found, bounds, reasons, base)}


def networks(setting: Setting, name: str, limits: dict[str, float], train: bool) -> dict[str, Any]:
    """A whole network, plain and pp3: inference, or a training step without the optimizer's."""
    x = setting.images(setting.network_batch, "channels_last")
    labels = torch.arange(len(x), device=setting.device)
    modules, calls = {}, {}
    # On the CPU "fused" is the network after fuse_stem; on a GPU the unit's kernels are called so.
    fuses = setting.ours == EAGER and not train
    for who, stem in ((PLAIN, "plain"), (setting.ours, "pp3"), *([(FUSED, "pp3")] if fuses else [])):
        modules[who] = setting.placed(create_model(name, stem=stem), "channels_last").train(train)
        if fuses and who == FUSED:
            fuse_stem(modules[who])
        calls[who] = _training(modules[who], x, labels) if train else _under_inference(modules[who], x)
    found = interleaved(calls, repeats=setting.repeats)
    with FlopCounterMode(display=False) as counted:
        calls[PLAIN]()
    what = f"{name}, training" if train else name
    bounds = {(what, PLAIN): floor(limits, x.nbytes, counted.get_total_flops())}
    title = f"{name}, {'training step' if train else 'inference'}, channels_last, batch {len(x)}"
    return {"title": title, "rows": _rows(setting, what, found, bounds, {})}


def floor(limits: dict[str, float], moved: int, operations: int) -> dict[str, float]:
    """Return the milliseconds below which nothing can go: by memory and by arithmetic."""
    return {
        "memory_ms": 1e3 * moved / limits["bytes_per_s"],
        "arithmetic_ms": 1e3 * operations / limits["operations_per_s"],
    }


def peak_bytes(call: Callable[[], Any], device: torch.device) -> int:
    """Return the most memory held at once during the call, beyond what was held before."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        call()
    held = most = 0
    results: Any = profile.profiler
    events = [e for e in results.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def _compile(setting: Setting, modules: dict[str, Any], wanted: dict[str, Any]) -> dict[str, str]:
    """Add compiled modules; return why one is missing."""
    if setting.compiler is not None:
        return dict.fromkeys(wanted, f"not measured ({setting.compiler})")
    torch.compiler.reset()
    modules.update({who: torch.compile(module, fullgraph=True) for who, module in wanted.items()})
    return {}


def _inference(modules: dict[str, Any], x: Tensor, setting: Setting) -> dict[str, Timing]:
    calls = {who: _under_inference(module, x) for who, module in modules.items()}
    return interleaved(calls, repeats=setting.repeats)


def _under_inference(module: Any, x: Tensor) -> Callable[[], None]:
    def call() -> None:
        with torch.inference_mode():
            module(x)

    return call


def _step(module: Any, x: Tensor, cotangent: Tensor) -> Callable[[], None]:
    """Forward and backward; images need no gradient."""
    inner = getattr(module, "module", module)
    original = getattr(inner, "_orig_mod", inner)
    parameters = [p for p in original.parameters() if p.requires_grad]

    def call() -> None:
        torch.autograd.grad(module(x), parameters, cotangent)

    return call


def _training(module: Any, x: Tensor, labels: Tensor) -> Callable[[], None]:
    parameters = list(module.parameters())

    def call() -> None:
        torch.autograd.grad(F.cross_entropy(module(x).float(), labels), parameters)

    return call


def _rows(
    setting: Setting,
    what: str,
    found: dict[str, Timing],
    bounds: dict[tuple[str, str], dict[str, float]],
    reasons: dict[str, str],
    base: str = PLAIN,
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for who, timing in found.items():
        rows.append(
            {
                "what": what,
                "who": who,
                "ms": [round(1e3 * s, 3) for s in timing[:3]],
                "ratio": round(timing.median / found[base].median, 3),
                "target": TARGETS.get((setting.device.type, what, who)),
                "floor": bounds.get((what, who), bounds[what, PLAIN]),
            }
        )
    return rows + [_missing(setting, what, who, why) for who, why in reasons.items()]


def _memory_rows(
    setting: Setting, found: dict[str, int], response: int, reasons: dict[str, str]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for who, held in found.items():
        target = TARGETS.get((setting.device.type, "memory", who))
        ratio = round(held / found[PLAIN], 3)
        rows.append(
            {
                "what": "memory",
                "who": who,
                "bytes": held,
                "ratio": ratio,
                "target": target,
                "floor_bytes": response,
            }
        )
    return rows + [_missing(setting, "memory", who, why) for who, why in reasons.items()]


def _missing(setting: Setting, what: str, who: str, why: str) -> dict[str, Any]:
    return {"what": what, "who": who, "why": why, "target": TARGETS.get((setting.device.type, what, who))}
