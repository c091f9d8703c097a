"""Classify image files with a network that `pushpull export` wrote; no PyTorch is needed.

    pip install numpy pillow onnxruntime
    python serve_onnx.py model.onnx cat.jpg dog.png

The file says how an image is cut out (resize, crop, size) and what its outputs are called; it takes RGB
in [0, 1] and normalises inside. Prints the three likeliest classes of each image.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
notes = session.get_modelmeta().custom_metadata_map
classes, framing, size = (json.loads(notes[key]) for key in ("classes", "framing", "size"))
resize, crop, bilinear = framing["resize"], framing["crop"], Image.Resampling.BILINEAR

for path in sys.argv[2:]:
    image = Image.open(path).convert("RGB")
    if resize:
        image = image.resize([int(resize * side / min(image.size)) for side in image.size], bilinear)
    if crop:
        left, top = (round((side - crop) / 2) for side in image.size)
        image = image.crop((left, top, left + crop, top + crop))
    pixels = np.asarray(image.resize(size[::-1], bilinear), np.float32) / 255
    logits = session.run(None, {"images": pixels.transpose(2, 0, 1)[None]})[0][0]
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    print(path, *(f"{classes[i]} {shares[i]:.3f}" for i in np.argsort(-logits)[:3]), sep="\t")
