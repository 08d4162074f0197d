#!/bin/sh
# Any ONNX policy, made small and certified, then written as C:
#
#     examples/compress_onnx.sh [FOLDER]
#
# MINUTES says how long it may take, two by default. Where nothing was certified in that time the exit code is 1.
set -eu
models=$(dirname "$0")/../models/CartPole-v1-ppo
out=${1:-runs/compress_onnx}
prunekit compress "$models/dense.onnx" --env CartPole-v1 --keep 0.95 --minutes "${MINUTES:-2}" --out "$out"
prunekit inspect "$out/policy.onnx"
prunekit export "$out/policy.onnx" --format c --name cartpole --out "$out"
