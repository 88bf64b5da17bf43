#!/usr/bin/env bash
# Have the programs that our exports are for read them: datasets, Label Studio's converter,
# torchvision and ONNX, in an environment of their own (build/readers), never in .venv.
#   scripts/readers.sh
set -euo pipefail
cd "$(dirname "$0")/.."

place=build/readers
python=$PWD/$place/bin/python
if [ ! -x "$python" ]; then
  .venv/bin/python -m venv "$place"
fi
if ! "$python" -m pip install --quiet --disable-pip-version-check datasets label-studio-sdk \
  onnx onnxruntime onnxscript ||
  ! "$python" -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt torchvision; then
  echo 'no package index: the readers cannot be fetched, nothing is checked' >&2
  exit 0
fi
# torch, numpy and handful itself are those of .venv, found behind the readers' own packages
site=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
own=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
printf '%s\n%s\n' "$own" "$PWD/src" >"$site/zz_handful.pth"

HANDFUL_READERS=$python .venv/bin/python -m pytest -rs -s tests/exports/test_real_readers.py
"$python" -m pytest -rs -W ignore tests/worker/test_saved_models.py -k onnx
