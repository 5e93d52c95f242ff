# shellcheck shell=bash
# What scripts/join and scripts/test share: find a Python, see that the machine has what the
# installation needs, and keep .venv in step with pyproject.toml. To be sourced, not run.
#
# `ensure_venv run` or `ensure_venv test` does it all. Inside .venv it leaves
#   installing                     an installation began and has not ended: what is there is half
#   made-for                       the Python, graphics card and checkout this folder is right for
#   installed-run, installed-test  checksum of the pyproject.toml that was installed
#   install.log                    what pip said
# Written for bash 3.2, which is what macOS has.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv
LOG=$VENV/install.log
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
RIGHT_VERSION='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'
PRINT_VERSION='import sys; print("python%d.%d" % sys.version_info[:2])'

say() { printf 'skep: %s\n' "$*" >&2; }

stop() {
  say "$@"
  exit 1
}

# ---- What the machine has ------------------------------------------------------------------------

find_python() { # prints nothing if there is none
  local names module name
  names=(python3.13 python3.12 python3.11 python3)
  # On macOS fastecdsa has wheels for these two only; the others would need a compiler.
  [ "$(uname)" != Darwin ] || names=(python3.12 python3.11 python3.13 python3)
  [ -z "${SKEP_PYTHON:-}" ] || names=("$SKEP_PYTHON")
  for module in ensurepip sys; do # Debian splits ensurepip off; a Python that has it goes first
    for name in "${names[@]}"; do
      if "$name" -I -c "import $module; $RIGHT_VERSION" >/dev/null 2>&1; then
        command -v "$name"
        return
      fi
    done
  done
}

has_nvidia() { command -v nvidia-smi >/dev/null || [ -e /dev/nvidiactl ]; }

# libp2p needs fastecdsa, which is built from source except where it has a wheel.
needs_compiler() { # PYTHON or ''
  if compgen -G "$VENV/lib/python3*/site-packages/fastecdsa-*" >/dev/null; then return 1; fi
  case "$(uname -sm)/${1##*/}" in
    "Darwin arm64/python3.12" | "Darwin arm64/python3.11") return 1 ;;
  esac
}

# Homebrew's headers stand where no compiler looks by itself.
use_homebrew() {
  if [ "$(uname)" != Darwin ] || ! command -v brew >/dev/null; then return; fi
  CPPFLAGS="-I$(brew --prefix)/include ${CPPFLAGS:-}"
  LDFLAGS="-L$(brew --prefix)/lib ${LDFLAGS:-}"
  export CPPFLAGS LDFLAGS
}

# Whether the compiler that setuptools will call for this Python finds a header.
compiles() { # HEADER PYTHON or ''
  local cc=cc include=/usr/include
  if [ -n "$2" ]; then
    cc=$("$2" -I -c 'import sysconfig; print(sysconfig.get_config_var("CC"))')
    include=$("$2" -I -c 'import sysconfig; print(sysconfig.get_path("include"))')
  fi
  # shellcheck disable=SC2086  # CC and CPPFLAGS are lists of words
  printf '#include <stdio.h>\n#include <%s>\nint main(void) { return 0; }\n' "$1" |
    ${CC:-$cc} ${CPPFLAGS:-} -I"$include" -x c -fsyntax-only - >/dev/null 2>&1
}

# What the installation cannot do without, plus bubblewrap: one word a line.
missing_tools() { # PYTHON or ''
  if [ -z "$1" ]; then
    printf 'python\nheaders\n'
  elif ! [ -x "$VENV/bin/python" ] && ! "$1" -I -c 'import ensurepip' 2>/dev/null; then
    echo venv
  fi
  if needs_compiler "$1"; then
    compiles stdio.h "$1" || echo compiler
    compiles gmp.h "$1" || echo gmp
    [ -z "$1" ] || compiles Python.h "$1" || echo headers
  fi
  [ "$(uname)" != Linux ] || command -v bwrap >/dev/null || echo bubblewrap
}

describe() { # WORD of missing_tools
  case "$1" in
    python) echo 'Python 3.11 to 3.13' ;;
    venv) echo "Python's venv module" ;;
    headers) echo "Python's C headers" ;;
    compiler) echo 'a C compiler' ;;
    gmp) echo "GMP's C headers (gmp.h)" ;;
    *) echo "$1" ;;
  esac
}

package_manager() { # prints nothing if it is none that we know
  local name
  for name in apt-get dnf pacman brew; do
    if command -v "$name" >/dev/null; then
      echo "$name"
      return
    fi
  done
}

install_command() { # MANAGER
  case "$1" in
    apt-get) echo apt-get install -y ;;
    dnf) echo dnf install -y ;;
    pacman) echo pacman -S --needed ;;
    brew) echo brew install ;;
  esac
}

# Debian and Fedora name headers after the version where it is not the system's own Python.
packages() { # MANAGER WORD PYTHON or ''
  local python=python3
  if [ -n "$3" ]; then python=$("$3" -I -c "$PRINT_VERSION"); fi
  case "$1/$2" in
    apt-get/python) echo python3 python3-venv ;;
    apt-get/venv) echo "$python-venv" ;;
    apt-get/headers) echo "$python-dev" ;;
    apt-get/compiler) echo gcc libc6-dev ;;
    apt-get/gmp) echo libgmp-dev ;;
    dnf/python) echo python3 ;;
    dnf/headers) echo "$python-devel" ;;
    dnf/gmp) echo gmp-devel ;;
    brew/python) echo python@3.12 ;;
    pacman/python) echo python ;;
    */compiler) echo gcc ;;
    */gmp | */bubblewrap) echo "$2" ;;
  esac
}

apt_install() { # PACKAGE...
  local log
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  set -- apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
  # The first try fails at once where the package lists are empty or out of date.
  if ! { "$@" || { apt-get update && "$@"; }; } >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    say "apt-get could not install them; all it said is in $log"
    return 1
  fi
  rm -f "$log"
}

# Root on Debian gets what is missing; everybody else is told the one line that brings it.
ensure_tools() { # PYTHON or ''
  local missing manager word absent='' list='' sudo=''
  missing=$(missing_tools "$1")
  if [ -z "$missing" ]; then return; fi
  manager=$(package_manager)
  for word in $missing; do
    absent="$absent, $(describe "$word")"
    list="$list $(packages "$manager" "$word" "$1")"
  done
  if [ "$manager" = apt-get ] && [ "$(id -u)" = 0 ]; then
    say "installing with apt-get:$list"
    # shellcheck disable=SC2086  # a list of words
    if apt_install $list; then return; fi
  fi
  if [ "$(id -u)" != 0 ] && [ "$manager" != brew ]; then sudo='sudo '; fi
  absent="missing: ${absent#, }"
  if [ -n "$manager" ]; then absent="$absent. Install with: $sudo$(install_command "$manager")$list"; fi
  if [ "$missing" != bubblewrap ]; then stop "$absent"; fi
  say "$absent (going on; without it experiments have no strong sandbox)"
}

# ---- The virtual environment ---------------------------------------------------------------------

venv_fits() {
  local python card root
  read -r python card root <"$VENV/made-for" || return 1
  [ "$root" = "$ROOT" ] && [ "$python" = "$("$VENV/bin/python" -I -S -c "$PRINT_VERSION")" ] &&
    ! { [ "$card" = none ] && has_nvidia; }
} 2>/dev/null

is_current() { # run|test
  [ ! -e "$VENV/installing" ] && venv_fits &&
    [ "$(cat "$VENV/installed-$1" 2>/dev/null)" = "$(cksum <"$ROOT/pyproject.toml")" ]
}

# Held until descriptor 9 is closed: two starts in one checkout must not install over each other.
lock_checkout() { # PYTHON
  exec 9<"$ROOT/pyproject.toml"
  "$1" -I -c '
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("skep: another start is installing in this checkout; waiting for it", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)'
}

make_venv() { # PYTHON
  local card=none
  if [ -e "$VENV/installing" ]; then
    say "the last installation was interrupted; starting again with an empty .venv"
    rm -rf "$VENV"
  elif [ -e "$VENV/made-for" ] && ! venv_fits; then
    say ".venv was made for another folder, Python or graphics card; making it anew"
    rm -rf "$VENV"
  fi
  if ! [ -e "$VENV" ]; then
    say "making .venv with $("$1" -V)"
    mkdir "$VENV"
    : >"$VENV/installing"
    "$1" -m venv "$VENV" >"$LOG" 2>&1 || failed "$1 could not make a virtual environment"
  elif ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    stop ".venv is there, but was not made by this script and has no working pip; move it away"
  elif ! "$VENV/bin/python" -I -S -c "$RIGHT_VERSION"; then
    stop ".venv is there, but its Python is not 3.11, 3.12 or 3.13; move it away"
  fi
  if has_nvidia; then card=nvidia; fi
  printf '%s %s %s\n' "$("$VENV/bin/python" -I -S -c "$PRINT_VERSION")" "$card" "$ROOT" \
    >"$VENV/made-for"
}

failed() { # WHAT; an ordinary failure leaves nothing half: pip rolls back, a venv is made again
  tail -n 15 "$LOG" >&2
  if [ -e "$VENV/pyvenv.cfg" ]; then rm -f "$VENV/installing"; fi
  stop "$1; all that was said is in $LOG"
}

# PyPI's Linux build of PyTorch brings gigabytes of CUDA libraries, of no use without NVIDIA.
wants_cpu_torch() {
  [ "$(uname)" = Linux ] && ! has_nvidia || return 1
  if "$VENV/bin/python" -I -c "
import urllib.request as web
web.urlopen(web.Request('$TORCH_CPU_INDEX/torch/', method='HEAD'), timeout=4)" 2>/dev/null; then
    return
  fi
  say "cannot reach $TORCH_CPU_INDEX; PyPI's build of PyTorch may bring some GB of CUDA libraries"
  return 1
}

# pip's newest line, on a terminal; where there is none, silence.
show_progress() {
  local line
  if ! [ -t 2 ]; then
    cat >/dev/null
    return
  fi
  while IFS= read -r line; do
    case "$line" in
      Collecting* | *Downloading* | *Building* | Installing*) printf '\r\033[K  %.76s' "$line" >&2 ;;
    esac
  done
  printf '\r\033[K' >&2
}

pip_install() { # run|test
  local mode=$1
  set -- -e "$ROOT"
  if [ "$mode" = test ]; then
    "$VENV/bin/python" -I -c '
import sys, tomllib
print(*tomllib.load(sys.stdin.buffer)["dependency-groups"]["dev"], sep="\n")' \
      <"$ROOT/pyproject.toml" >"$VENV/dev-requirements.txt" || return
    set -- "$@" -r "$VENV/dev-requirements.txt"
  fi
  if wants_cpu_torch; then set -- "$@" --extra-index-url "$TORCH_CPU_INDEX"; fi
  say "installing Skep's libraries into .venv; this takes a minute or more (log: $LOG)"
  "$VENV/bin/python" -m pip install --no-input --disable-pip-version-check --progress-bar off \
    "$@" 2>&1 | tee "$LOG" | show_progress
}

install() { # run|test PYTHON
  local checksum
  make_venv "$2"
  checksum=$(cksum <"$ROOT/pyproject.toml")
  trap 'exit 130' INT TERM HUP # bash would go on after a pip that ended itself on Ctrl-C
  : >"$VENV/installing"
  pip_install "$1" || failed "pip could not install Skep's libraries"
  if [ "$1" = test ]; then echo "$checksum" >"$VENV/installed-run"; fi
  echo "$checksum" >"$VENV/installed-$1"
  rm "$VENV/installing"
  trap - INT TERM HUP
}

ensure_venv() { # run|test
  local python
  if is_current "$1"; then return; fi
  use_homebrew
  python=$(find_python)
  if [ -z "$python" ] && [ -n "${SKEP_PYTHON:-}" ]; then
    stop "SKEP_PYTHON=$SKEP_PYTHON is no Python 3.11, 3.12 or 3.13"
  fi
  ensure_tools "$python"
  python=$(find_python)
  if [ -z "$python" ]; then
    stop "the system's Python is not 3.11, 3.12 or 3.13; install one and set SKEP_PYTHON to its path"
  fi
  lock_checkout "$python"
  if ! is_current "$1"; then install "$1" "$python"; fi
  exec 9<&- # or the node would inherit the lock
}
