#!/usr/bin/env bash
# Installs the Python packages and the jars; called by the starters when one is
# missing. Each step leaves its mark only when it is done, so that a step that
# was broken off is done again.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv="$root/.venv"
state="${GEMSBOK_HOME:-$root/.gemsbok}"
oldest=10
newest=13

fail() {
  printf 'gemsbok: %s\n%s\n' "$1" "$2" >&2
  exit 69
}

say() { printf 'gemsbok: %s\n' "$1" >&2; }

minor_version() {
  "$1" -c 'import sys; print(sys.version_info[1] if sys.version_info[0] == 3 else 0)' 2>/dev/null
}

# Sets `python` to the first that fits, or says which were found and why they do not.
find_python() {
  local candidate minor found=''
  for candidate in ${GEMSBOK_PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
    minor=$(minor_version "$candidate") || continue
    python=$candidate
    if [ "$minor" -ge $oldest ] && [ "$minor" -le $newest ]; then return; fi
    found="$found $candidate is 3.$minor;"
  done
  local what="No Python from 3.$oldest to 3.$newest was found"
  fail "$what:${found:- no ${GEMSBOK_PYTHON:-python3} on PATH}" \
    'Install one, for instance `apt-get install python3 python3-venv` or `brew install python@3.12`,
or name it: GEMSBOK_PYTHON=/path/to/python3 bin/gemsbok ...'
}

# Two first calls at the same time: the second waits here. Python takes the lock
# (macOS has no flock command) and runs this script again, which inherits it.
hold_lock() {
  if [ "${GEMSBOK_INSTALL_LOCK:-}" = held ]; then return; fi
  mkdir -p "$state"
  GEMSBOK_INSTALL_LOCK=held exec "$python" -c '
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o644)
try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("gemsbok: another call is installing; waiting for it", file=sys.stderr, flush=True)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
os.set_inheritable(descriptor, True)
os.execvp("bash", ["bash", sys.argv[2]])
' "$state/install.lock" "$root/bin/install.sh"
}

make_environment() {
  # Either mark is left only by a whole one; one that was broken off has neither.
  if [ -x "$venv/bin/python" ] && { [ -e "$venv/made" ] || [ -e "$venv/requirements.lock" ]; }; then
    return
  fi
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make a virtual environment: its module venv or ensurepip is missing." \
      'Install it, for instance `apt-get install python3-venv`, and call again.'
  say "Making .venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
  touch "$venv/made"
}

install_packages() {
  if cmp -s "$root/requirements.lock" "$venv/requirements.lock"; then return; fi
  say "Installing the Python packages (about 1 GB, some minutes)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --use-pep517 \
    --require-hashes -r "$root/requirements.lock" ||
    fail 'pip could not install the packages.' \
      'See its message above; call again to try again. PIP_INDEX_URL names a mirror.'
  cp "$root/requirements.lock" "$venv/requirements.lock.new"
  mv "$venv/requirements.lock.new" "$venv/requirements.lock"
}

# Spark starts some seconds sooner with it, and without it all the same.
keep_classes() {
  say "Preparing Spark's classes"
  "$venv/bin/python" -m batch_layer.run.class_archive > "$state/logs/class_archive.log" 2>&1 ||
    say "They could not be prepared ($state/logs/class_archive.log); Spark starts slower"
}

trap 'say "Broken off; the next call goes on from here"; exit 130' INT

find_python
hold_lock
make_environment
install_packages
cd "$root"
mkdir -p "$state/logs"
"$venv/bin/python" -m stack.jars
keep_classes
