#!/bin/sh
# Run all tests that need an NVIDIA GPU in one call: tests/run_gpu.sh [pytest arguments].
# Only the files that hold such tests are collected, so the rest of the project's packages need not be installed.
set -e
cd "$(dirname "$0")/.."
files=$(grep -rlE 'mark\.gpu' tests --include='*_test.py')
exec "${PYTHON:-python3}" -m pytest -m gpu -rs --seed=random "$@" $files
