# What the experiments' scripts share; they source it.
export LC_ALL=C
thinwire=${THINWIRE:-$(dirname "${BASH_SOURCE[0]}")/../build/release/thinwire}
if [[ ! -x $thinwire ]]; then
  echo "there is no $thinwire: run ./scripts/build, or set THINWIRE to the program" >&2
  exit 1
fi

# train RUN FLAGS...: a run in the folder RUN that goes on from where it is, unless it has finished
# with these flags. A run that overflows is a result, too: it is finished, and RUN.diverged says so.
train() {
  local run=$1
  shift
  grep -qxsF -- "$*" "$run.finished" && return
  echo "$(date +%H:%M:%S) $run" >&2
  mkdir -p "$(dirname "$run")"
  if ! "$thinwire" train --output "$run" --resume auto "$@" >>"$run.log" 2>&1; then
    tail -n 2 "$run.log" | tee /dev/stderr | grep -qi ' \(loss\|gradient\).*\(nan\|inf\)' || return 1
    touch "$run.diverged"
  fi
  echo "$*" >>"$run.finished"
}

# logged RUN KEY NAME: the two numbers of every logged step; nothing for runs that diverged. "bits"
# are those of one worker, up and down.
logged() {
  [[ ! -e $1.diverged ]] || return 0
  awk -v key="$2" -v name="$3" '
    function number(name) {
      if (name == "bits") return number("paper_bits_up") + number("paper_bits_down")
      if (!match($0, "\"" name "\":[^,}]*")) return "inf"
      return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) + 0
    }
    { print number(key), number(name) }' CONVFMT=%.17g OFMT=%.17g "$1/steps.jsonl"
}

# at RUN NAME KEY LIMIT: the number NAME of the last logged step whose KEY is at most LIMIT.
at() {
  logged "$1" "$3" "$2" | awk -v limit="$4" '
    $1 + 0 <= limit { value = $2 }
    END { print value == "" ? "inf" : value }'
}

# late RUN NAME ROUNDS: mean and maximum of the number NAME over the last tenth of the rounds.
late() {
  logged "$1" step "$2" | awk -v first=$(($3 - $3 / 10)) '
    $1 + 0 > first { sum += $2; ++count; if (count == 1 || $2 + 0 > most + 0) most = $2 }
    END { if (count) print sum / count, most; else print "inf inf" }' OFMT=%.17g
}

# least NUMBER=NAME...: the NAME with the smallest NUMBER.
least() {
  printf '%s\n' "$@" | sort -s -t= -k1,1g | head -n 1 | cut -d= -f2-
}
