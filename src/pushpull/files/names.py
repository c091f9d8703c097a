"""The names of what a run folder holds: see `pushpull.training.train`."""

RECIPE, INPUTS, WEIGHTS = "recipe.yaml", "inputs.json", "model.safetensors"
EPOCHS = "epochs.json"
LAST, LOGS, RESULTS = "last.ckpt", "logs", "results.json"
PREDICTIONS = "predictions.parquet"
RATES = "rates.json"  # other learning rates than it began with: from which epoch
