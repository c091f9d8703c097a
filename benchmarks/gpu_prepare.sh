#!/usr/bin/env bash
# Makes what `gpu.py` needs on a machine with a GPU and without a package index: wheels, photographs.
#
#     benchmarks/gpu_prepare.sh [DATA]    # DATA: folder with cifar10/ and imagenet_sample/; default ../shared/data
#
# On such a machine Python 3.12, torch, torchvision, triton, timm, lightning, numba, pytest, pyarrow and pandas are
# expected; the rest is in the folder .gpu/, of at most 60 MiB, which git ignores. Without DATA digits and drawn
# pictures are used. At the end it says the line to run there.
set -euo pipefail
cd "$(dirname "$0")/.."
data=${1:-../shared/data}
python=${PYTHON:-python3}
most_mib=60

rm -rf .gpu
mkdir -p .gpu/wheels .gpu/data
platforms=(--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64)
"$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
  "${platforms[@]}" --dest .gpu/wheels \
  datasets dill multiprocess jsonargparse docstring-parser typeshed-client beartype

for name in cifar10 imagenet_sample; do
  if [ -d "$data/$name" ]; then cp -r "$data/$name" .gpu/data/; else echo "no $name in $data: left out"; fi
done

size_mib=$(($(du -sk .gpu | cut -f1) / 1024))
if [ "$size_mib" -gt "$most_mib" ]; then
  echo "error: .gpu has $size_mib MiB, more than the $most_mib that travel; give a folder with less data" >&2
  exit 2
fi

# The command starts with the wheels in the place of what is installed here: imports, arguments, files.
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
for wheel in .gpu/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$site"; done
PYTHONPATH="$site:src" "$python" - "$site" <<'CHECK'
import importlib, sys
for name in ("datasets", "dill", "multiprocess", "jsonargparse", "docstring_parser", "beartype"):
    found = importlib.import_module(name).__file__
    if not found.startswith(sys.argv[1]):
        sys.exit(f"error: {name} comes from {found}, not from the wheels")
import pushpull.cli.parser, pushpull.data, pushpull.training  # all that the stages import
CHECK
PYTHONPATH="$site:src" "$python" benchmarks/gpu.py --help >/dev/null

echo ".gpu: $size_mib MiB. Take the folder .gpu along with the working tree (git ignores it), and run there, in the"
echo "repository's root (a science.zip of a run before, put into .gpu/, is continued):"
echo
echo "python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target /tmp/site .gpu/wheels/*.whl &&" \
  "PYTHONPATH=/tmp/site:src python3 benchmarks/gpu.py --minutes 8 --data .gpu/data --output \"\${OUT:-/tmp/gpu}\""
