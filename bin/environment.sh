# Sourced by the starters with `root` set: checks Java, installs what is missing,
# and sets what Python needs. Quick when everything is there already.

venv="$root/.venv"
export GEMSBOK_HOME="${GEMSBOK_HOME:-$root/.gemsbok}"
case "$GEMSBOK_HOME" in /*) ;; *) GEMSBOK_HOME="$PWD/$GEMSBOK_HOME" ;; esac
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
export PYSPARK_PYTHON="${PYSPARK_PYTHON:-$venv/bin/python}"

# fail WHAT REMEDY: 69 is the exit code for "a needed service or program is not there".
fail() {
  printf 'gemsbok: %s\n%s\n' "$1" "$2" >&2
  exit 69
}

java_remedy='Needed is Java 17 or newer with the module jdk.incubator.vector. Install it:
  Debian, Ubuntu:  apt-get install openjdk-17-jre-headless
  Fedora:          dnf install java-21-openjdk-headless
  macOS:           brew install openjdk@17
and set JAVA_HOME to it if it is not the java on PATH.'

find_java() {
  if [ -n "${JAVA_HOME:-}" ]; then
    java="$JAVA_HOME/bin/java"
    [ -x "$java" ] || fail "JAVA_HOME is $JAVA_HOME, which has no bin/java." "$java_remedy"
  else
    java=$(command -v java) || fail 'There is no java on PATH, and no JAVA_HOME.' "$java_remedy"
  fi
  # Behind the links, so that another version put in their place is noticed.
  java=$(readlink -f "$java" 2>/dev/null || printf '%s' "$java")
}

# Starting Java takes a tenth of a second or more: a good answer is kept by path.
check_java() {
  find_java
  local stamp="$GEMSBOK_HOME/cache/java" said version
  if [ -f "$stamp" ] && [ "$(<"$stamp")" = "$java" ] && [ "$stamp" -nt "$java" ]; then return; fi
  said=$("$java" -version 2>&1) || fail "$java does not start: ${said%%$'\n'*}" "$java_remedy"
  if [[ $said =~ version\ \"(1\.)?([0-9]+) ]]; then version=${BASH_REMATCH[2]}; else version=0; fi
  if [ "$version" -lt 17 ]; then
    fail "$java is Java $version, which is too old." "$java_remedy"
  fi
  # Into a variable: `grep -q` on a pipe would break it, and pipefail call that an error.
  said=$("$java" --list-modules 2>&1) || true
  case "$said" in
    *jdk.incubator.vector*) ;;
    *) fail "$java (Java $version) lacks the module jdk.incubator.vector." "$java_remedy" ;;
  esac
  mkdir -p "$GEMSBOK_HOME/cache"
  printf '%s' "$java" > "$stamp"
}

has_packages() {
  [ -x "$venv/bin/python" ] && cmp -s "$root/requirements.lock" "$venv/requirements.lock"
}

has_jars() {
  cmp -s "$root/jars.lock" "$GEMSBOK_HOME/jars/spark/jars.lock" &&
    cmp -s "$root/jars.lock" "$GEMSBOK_HOME/jars/kafka/jars.lock"
}

# doctor reports a bad Java or bad jars itself, as soon as there is a Python to run it.
if [ "${1:-}" != doctor ] || ! has_packages; then
  check_java
  if ! has_packages || ! has_jars; then "$root/bin/install.sh" || exit $?; fi
fi
