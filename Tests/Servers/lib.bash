# Shared by the S3 server scripts in this folder: sourced, never run.
# A script sets NAME, defines do_install and do_start, and calls: main "$@"
set -euo pipefail
umask 022
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
CACHE=${S3_SERVERS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/s3-servers}
ACCESS_KEY=${S3_SERVER_ACCESS_KEY:-S3TESTACCESSKEY00001}
SECRET_KEY=${S3_SERVER_SECRET_KEY:-s3-test-secret-key-0123456789abcdefghijk}
REGION=us-east-1
STOP_WAIT=${S3_STOP_WAIT:-10} # seconds between SIGTERM and SIGKILL in stop
READY_WAIT=${S3_READY_WAIT:-60}
NO_INSTALL=${S3_SERVERS_NO_INSTALL:-} # 1: what is missing is an error

say() { printf '%s: %s\n' "$NAME" "$*" >&2; }
die() { say "$*"; exit 1; }

usage() {
  cat >&2 <<E
usage: $NAME install          install what the server needs (does nothing when it is there)
       $NAME start DIR PORT   start on 127.0.0.1:PORT with all state under DIR; PORT 0 takes a free one.
                              Prints S3_* lines: endpoint, region, keys. Data in DIR from before is kept.
       $NAME stop DIR         SIGTERM, then SIGKILL after S3_STOP_WAIT seconds (${STOP_WAIT})
       $NAME kill DIR         SIGKILL at once, for crash tests
       $NAME status DIR       exit 0 when every process runs; prints their ids
       $NAME env DIR          the S3_* lines again
E
  exit 2
}

# --- ports

port_used() { # PORT: does anything listen on it?
  grep -hqE "^ *[0-9]+: [0-9A-F]+:$(printf '%04X' "$1") [0-9A-F]+:[0-9A-F]{4} 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

TAKEN=" "
free_port() { # sets FREE; below the range that outgoing connections use
  local i
  for i in $(seq 200); do
    FREE=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    case "$TAKEN" in *" $FREE "*) continue ;; esac
    port_used "$FREE" || { TAKEN="$TAKEN$FREE "; return 0; }
  done
  die "no free port found"
}

inner_ports() { # NAME...: sets each variable to a port, the same ones at every start in DIR
  local n
  touch "$DIR/run/ports"
  # shellcheck disable=SC1091
  . "$DIR/run/ports"
  for n in "$@"; do
    if [ -z "${!n:-}" ]; then
      free_port
      printf -v "$n" '%s' "$FREE"
      echo "$n=$FREE" >>"$DIR/run/ports"
    elif port_used "${!n}"; then
      die "port ${!n} ($n), which this DIR used before, is taken now"
    fi
  done
}

# --- processes: remembered as "pid start-time name", so that a reused id is never signalled

start_time() { # PID: prints the start time; fails when it is gone or a zombie
  local s
  { s=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  s=${s##*) }
  # shellcheck disable=SC2086
  set -- $s
  [ "$1" != Z ] && [ "$1" != X ] && echo "${20}"
}

note_pid() { # NAME PID
  local t
  t=$([ -n "$2" ] && start_time "$2") || die "$1 ended at once; see $DIR/log"
  echo "$2 $t $1" >>"$DIR/run/pids"
}

spawn() { # NAME COMMAND...: in the background, in its own session, output in DIR/log
  local n=$1
  shift
  setsid "$@" >>"$DIR/log/$n.log" 2>&1 </dev/null &
  note_pid "$n" $!
}

living() { # prints "pid name" of each remembered process that still runs, last started first
  [ -f "$DIR/run/pids" ] || return 0
  local p t n
  tac "$DIR/run/pids" | while read -r p t n; do
    [ "$(start_time "$p" || true)" = "$t" ] && echo "$p $n" || true
  done
}

all_run() {
  [ -s "$DIR/run/pids" ] && [ "$(living | wc -l)" = "$(wc -l <"$DIR/run/pids")" ]
}

end_all() { # SIGNAL: TERM asks one after another, last started first; what is left is killed
  local p n end
  if [ "$1" = TERM ]; then
    end=$((SECONDS + STOP_WAIT))
    while read -r p n; do
      kill -TERM "$p" 2>/dev/null || continue
      while start_time "$p" >/dev/null && [ $SECONDS -lt $end ]; do sleep 0.05; done
    done < <(living)
  fi
  while read -r p n; do kill -KILL "$p" 2>/dev/null || true; done < <(living)
  for _ in $(seq 100); do [ -z "$(living)" ] && break; sleep 0.05; done
  rm -f "$DIR/run/pids"
  if declare -F after_end >/dev/null; then after_end; fi
}

# --- installing

pip_tool() { # REQUIREMENT BINARY: sets TOOL, in a virtual environment of its own
  local v=$CACHE/${1//[^A-Za-z0-9._-]/_}
  TOOL=$v/bin/$2
  [ -e "$v/.done" ] && [ -x "$TOOL" ] && return 0
  [ "$NO_INSTALL" != 1 ] || die "$1 is not installed; run: $HERE/$NAME install"
  command -v python3 >/dev/null || die "needs python3"
  mkdir -p "$CACHE"
  (
    flock 9
    [ -e "$v/.done" ] && exit 0
    rm -rf "$v"
    say "installing $1"
    python3 -m venv "$v" >&2 9>&-
    "$v/bin/python" -m pip install -q --disable-pip-version-check "$1" >&2 9>&-
    touch "$v/.done"
  ) 9>"$CACHE/.lock"
  [ -x "$TOOL" ] || die "$1 brought no $2"
}

apt_tool() { # COMMAND PACKAGE...: installs the packages unless the command is there
  local c=$1 made=
  shift
  command -v "$c" >/dev/null && return 0
  [ "$NO_INSTALL" != 1 ] || die "$c is not installed; run: $HERE/$NAME install"
  [ "$(id -u)" = 0 ] || die "needs root, or these packages installed: $*"
  say "installing $*"
  if [ ! -e /usr/sbin/policy-rc.d ]; then # keeps the packages from starting their services
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    made=1
  fi
  local get="apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
  DEBIAN_FRONTEND=noninteractive $get --no-install-recommends install "$@" >&2 ||
    { $get update >&2 && DEBIAN_FRONTEND=noninteractive $get --no-install-recommends install "$@" >&2; } ||
    { [ -z "$made" ] || rm -f /usr/sbin/policy-rc.d; die "apt-get could not install $*"; }
  [ -z "$made" ] || rm -f /usr/sbin/policy-rc.d
  command -v "$c" >/dev/null || die "$* brought no $c"
}

# --- commands

main() {
  case "${1:-}" in
  install) [ $# = 1 ] || usage; do_install ;;
  start) [ $# = 3 ] || usage; start "$2" "$3" ;;
  stop | kill)
    [ $# = 2 ] || usage
    at "$2"
    if [ "$1" = stop ]; then end_all TERM; else end_all KILL; fi
    ;;
  status)
    [ $# = 2 ] || usage
    at "$2"
    living
    all_run
    ;;
  env) [ $# = 2 ] || usage; at "$2"; cat "$DIR/env" ;;
  *) usage ;;
  esac
}

at() { # DIR must exist
  [ -d "$1" ] || die "no such folder: $1"
  DIR=$(cd -- "$1" && pwd)
}

start() {
  mkdir -p "$1"
  at "$1"
  PORT=$2
  case "$PORT" in *[!0-9]* | '') die "not a port: $PORT" ;; esac
  [ -z "$(ls -A "$DIR")" ] || [ "$(cat "$DIR/server" 2>/dev/null)" = "$NAME" ] ||
    die "$DIR is neither empty nor a folder of $NAME"
  if all_run; then
    [ "$PORT" = 0 ] || grep -q ":$PORT\$" "$DIR/env" || die "already runs in $DIR on another port"
    cat "$DIR/env"
    return 0
  fi
  do_install
  mkdir -p "$DIR"/{run,log,tmp}
  echo "$NAME" >"$DIR/server"
  [ -z "$(living)" ] || end_all KILL
  rm -f "$DIR/run/pids"
  if [ "$PORT" = 0 ]; then
    free_port
    PORT=$FREE
  else
    TAKEN="$TAKEN$PORT "
    port_used "$PORT" && die "port $PORT is taken"
  fi
  trap 'st=$?; [ $st = 0 ] || { tail -n 8 "$DIR"/log/*.log >&2 || true; end_all KILL; }' EXIT
  local begin=${EPOCHREALTIME/./} verified
  do_start >&2
  verified=$(python3 "$HERE/probe.py" "http://127.0.0.1:$PORT" "$ACCESS_KEY" "$SECRET_KEY" "$REGION" "$READY_WAIT")
  all_run || die "a process ended; see $DIR/log"
  {
    echo "S3_SERVER=$NAME"
    echo "S3_ENDPOINT=http://127.0.0.1:$PORT"
    echo "S3_REGION=$REGION"
    echo "S3_ACCESS_KEY=$ACCESS_KEY"
    echo "S3_SECRET_KEY=$SECRET_KEY"
    echo "S3_VERIFIES_SIGNATURES=$verified"
  } >"$DIR/env"
  cat "$DIR/env"
  say "ready after $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
}
