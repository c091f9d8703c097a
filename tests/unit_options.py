"""Random options for the push-pull unit, and tensors that fit them."""

from typing import Any

from hypothesis import strategies as st
from torch import Tensor

from support import random_tensor


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    """Any options that fit images of 7 to 12 pixels a side, of all Conv2d takes."""
    low = {"kernel": 1, "stride": 1, "dilation": 1, "padding": 0}
    high = {"kernel": 4, "stride": 3, "dilation": 2, "padding": 3}
    pairs = {k: st.tuples(*[st.integers(low[k], high[k])] * 2) for k in low}
    chosen: dict[str, Any] = {k: draw(pairs[k]) for k in ("kernel", "stride", "dilation")}
    chosen["padding"] = draw(
        st.one_of(pairs["padding"], st.integers(0, 3), st.sampled_from(["same", "valid"]))
    )
    if chosen["padding"] == "same":
        chosen["stride"] = draw(st.sampled_from([1, (1, 1)]))
    chosen["groups"] = draw(st.sampled_from([1, 2, 3]))
    chosen["channels"] = draw(st.integers(1, 3))
    chosen["filters"] = draw(st.integers(1, 2)) * chosen["groups"]
    chosen["size"] = (draw(st.integers(7, 12)), draw(st.integers(7, 12)))
    chosen["batch"] = draw(st.sampled_from([None, 1, 2]))
    chosen["avg_kernel_size"] = draw(st.sampled_from([0, 1, 3, 5, 7]))
    chosen["offset"] = draw(st.sampled_from(["extrema", "mean", "zero", 0.3]))
    chosen["alpha"] = draw(st.sampled_from(["float", "scalar", "channel"]))
    chosen["bias"] = draw(st.booleans())
    chosen["seed"] = draw(st.integers(0, 2**16))
    return chosen


def tensors(o: dict[str, Any]) -> dict[str, Tensor]:
    """The leaves that these options describe."""
    batch = [] if o["batch"] is None else [o["batch"]]
    shapes = {
        "x": (*batch, o["channels"] * o["groups"], *o["size"]),
        "weight": (o["filters"], o["channels"], *o["kernel"]),
    }
    if o["bias"]:
        shapes["bias"] = (o["filters"],)
    if o["alpha"] != "float":
        shapes["alpha"] = () if o["alpha"] == "scalar" else (o["filters"],)
    return {
        name: random_tensor(*shape, seed=o["seed"] + i).requires_grad_()
        for i, (name, shape) in enumerate(shapes.items())
    }
