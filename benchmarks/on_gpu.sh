#!/usr/bin/env bash
# All that needs a GPU, in one command of at most nine minutes: CUDA tests, step cost and share of the matrix peak,
# synchronisations, evaluation and re-ranking at MSMT17's size, NCCL with one process, and a training on SynthReID.
#
#   benchmarks/on_gpu.sh wheels FOLDER [PACKAGE ...]   collects what such a machine may lack, for Python 3.12 on Linux
#   OUT=FOLDER WHEELS=FOLDER benchmarks/on_gpu.sh      there: installs the wheels into a temporary folder and measures
#   benchmarks/on_gpu.sh --dry-run                     every part at a toy size on the CPU
#   benchmarks/on_gpu.sh --parts steps compiled        some parts alone
#
# The machine needs no network. It has torch, torchvision and the packages of a usual image of theirs; what it lacks is
# named before anything is measured. BENCHMARK_COMMIT names the commit where the tree is no git checkout.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-python3}"
seconds="${SECONDS_AT_MOST:-530}"

if [ "${1:-}" = wheels ]; then
  folder="${2:?on_gpu.sh wheels FOLDER: name the folder}"
  shift 2
  # torch, torchvision, NumPy, OpenCV, scikit-learn and the like are left out: the image has them. gdown too, which
  # FastReID imports only to download weights.
  platforms=()
  for glibc in 28 27 24 17; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
  "$python" -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp "${platforms[@]}" \
    --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -c "$root/constraints.txt" -d "$folder" \
    fastreid yacs termcolor faiss-cpu filelock "$@"
  du -ch "$folder"/*.whl
  exit
fi

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
site=""
if [ -n "${WHEELS:-}" ]; then
  site="$scratch/site:"
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check \
    --target "$scratch/site" "$WHEELS"/*.whl
fi
export PYTHONPATH="$root/benchmarks:$root:$site${PYTHONPATH:-}" PYTHONUNBUFFERED=1
cd "$root"
"$python" -m on_gpu.run --output "${OUT:-logs/on_gpu}" --seconds "$((seconds - SECONDS))" "$@"
