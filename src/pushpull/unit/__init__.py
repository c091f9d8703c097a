"""Everything about the push-pull unit: the mathematics, the layer, and its way into any network.

How it is computed is in `pushpull.unit.backends`; nothing has to be chosen there.
"""

from pushpull.unit.functional import pull_kernel, push_pull_conv2d
from pushpull.unit.fusion import FusedStem, fuse_stem
from pushpull.unit.gate import finish_gate, gate_at, set_gate
from pushpull.unit.layers import Inhibited, PushPullConv2d
from pushpull.unit.optim import parameter_groups
from pushpull.unit.surgery import Replacement, replace_first_conv

__all__ = [
    "FusedStem",
    "Inhibited",
    "PushPullConv2d",
    "Replacement",
    "finish_gate",
    "fuse_stem",
    "gate_at",
    "parameter_groups",
    "pull_kernel",
    "push_pull_conv2d",
    "replace_first_conv",
    "set_gate",
]
