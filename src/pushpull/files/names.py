"""The names of what a run folder holds: see `pushpull.training.train`."""

RECIPE, INPUTS, WEIGHTS = "recipe.yaml", "inputs.json", "model.safetensors"
EPOCHS = "epochs.json"
LAST, LOGS, RESULTS = "last.ckpt", "logs", "results.json"
# Of a hardening.
PLAN, BEFORE, AFTER, TRAINING, POINTS = "harden.json", "before", "after", "training", "points.json"
CONFIG, MODEL_CARD = "config.json", "README.md"  # of a shared network
PREDICTIONS = "predictions.parquet"
RATES = "rates.json"  # other learning rates than it began with: from which epoch
