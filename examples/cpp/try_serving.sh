#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The CTest "serving": try_serving.sh FOLDER tries train_and_serve and reloading_service, which are in FOLDER. It needs
# bash, cp, mv, mktemp, rm and sleep.
set -euo pipefail
programs="$1"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() {
  echo "failed: $*" >&2
  exit 1
}

# Two files of ratings, by the same users of the same items, of opposite tastes.
for ((user = 0; user < 40; ++user)); do
  for ((item = 0; item < 30; ++item)); do
    if (((user * 7 + item * 3) % 5)); then
      echo "u$user,i$item,$((1 + user % 3 + item % 3))" >&3
      echo "u$user,i$item,$((5 - user % 3 - item % 3))" >&4
    fi
  done
done 3>a.csv 4>b.csv
answer=()
for name in a b; do
  printf 'u3\nnobody\n' | "$programs/train_and_serve" $name.csv $name.safetensors >$name.answers
  [[ "$(<$name.answers)" == u3$'\t'i*$'\n''nobody (unknown)'$'\t'i* ]] || fail "answers: $(<$name.answers)"
  answer+=("$(echo u3 | "$programs/reloading_service" $name.safetensors 2>/dev/null)")
done
[[ "${answer[0]}" != "${answer[1]}" ]] || fail "opposite tastes get the same list"

# Three threads answer 20,000 times while the file is replaced 40 times, the 20th time by one that is no model.
feed() {
  for ((n = 0; n < 40; ++n)); do
    name=$([[ $((n % 2)) == 0 ]] && echo b || echo a)
    if ((n == 19)); then echo "no model" >next; else cp $name.safetensors next; fi
    mv next m.safetensors
    for ((k = 0; k < 500; ++k)); do echo u3; done
    sleep 0.03
  done
}
cp a.safetensors m.safetensors
declare -A seen
while IFS= read -r line; do
  seen["$line"]=$((${seen["$line"]:-0} + 1))
done < <(feed | "$programs/reloading_service" m.safetensors 3 2>log)
[[ ${#seen[@]} == 2 ]] || fail "answers of ${#seen[@]} models, not of two: ${!seen[*]}"
n_first=${seen["${answer[0]}"]:-0} n_second=${seen["${answer[1]}"]:-0}
((n_first + n_second == 20000 && n_first > 0 && n_second > 0)) || fail "$n_first and $n_second answers"
n_loaded=0
while IFS= read -r line; do
  if [[ $line == loaded:* ]]; then n_loaded=$((n_loaded + 1)); fi
done <log
((n_loaded >= 5)) || fail "the file was replaced 40 times, and loaded $n_loaded times"
[[ "$(<log)" == *"kept the old model: m.safetensors is damaged"* ]] || fail "no word of the file that is no model"
echo "$n_first and $n_second answers of two models, loaded $n_loaded times"
