#!/usr/bin/env bash
# Everything that a change must pass.  All checks run, even after one has failed.
#   scripts/check.sh         in under 10 minutes on 2 cores
#   scripts/check.sh --all   with the tests marked slow
set -uo pipefail
cd "$(dirname "$0")/.."

export OMP_WAIT_POLICY=PASSIVE
# The page, the bench and the command line sit above the floors that the gate counts.
above_the_gate='*/handful/cli/*,*/handful/bench/*,*/handful/page/*,*/handful/testing/*'
bin=.venv/bin
failed=()
table=()
begun=$SECONDS

check() {
  local name=$1 from=$SECONDS state=passed
  shift
  printf -- '--- %s\n' "$name"
  if ! "$@" </dev/null; then
    state=FAILED
    failed+=("$name")
  fi
  table+=("$(printf '%-22s %-7s %4d s' "$name" "$state" $((SECONDS - from)))")
}

# timm comes without its dependencies, which would bring another build of torch; a test names
# the operators that torchvision then misses.  Without an index the tests skip and say so.
with_timm() {
  $bin/python -m pip install --quiet --disable-pip-version-check --upgrade --no-deps \
    --target build/timm -c constraints.txt timm torchvision huggingface_hub pyyaml ||
    echo 'timm could not be fetched: its tests are skipped'
  PYTHONPATH=build/timm $bin/python -m pytest -rs -k 'timm or tiny' tests/reference/test_backbones.py
}

marks='not slow'
[ "${1:-}" = --all ] && marks=''

check 'ruff check' $bin/ruff check --quiet .
check 'ruff format' $bin/ruff format --check --quiet .
check 'mypy --strict' $bin/mypy
check 'import-linter' $bin/lint-imports --no-logo
check 'front end: build' $bin/python hatch_build.py build
check 'front end: tests' $bin/python hatch_build.py test
check 'documentation' $bin/python -m sphinx -W --keep-going -q -E -b html docs docs/_build/html
check 'tests' $bin/python -m pytest -n 2 --dist loadfile -m "$marks" --durations=10 --cov=handful --cov-report=
check 'coverage >= 90 %' $bin/coverage report --omit="$above_the_gate" --fail-under=90

[ -z "$marks" ] && check 'timm' with_timm

printf -- '---\n'
printf '%s\n' "${table[@]}"
printf '%-22s %-7s %4d s\n' 'together' '' $((SECONDS - begun))
if ((${#failed[@]})); then
  printf 'failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
