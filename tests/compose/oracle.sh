#!/usr/bin/env bash
# Asks docker-compose 1.25.4 and 1.29.2 themselves what they say of every file in cases/.
#
#   tests/compose/oracle.sh            compares with verdicts.tsv; fails where they say something else
#   tests/compose/oracle.sh --update   writes verdicts.tsv
#
# Both come from PyPI, each into a venv of its own below the state directory ($O3R_TWIN_STATE, or
# ~/.cache/o3r-deploy-tests), where they stay. No docker daemon is asked.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

case ${1:-} in
    "" | --update) ;;
    *) sed -n '2,9s/^# \{0,1\}//p' oracle.sh; exit 2 ;;
esac

state=${O3R_TWIN_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/o3r-deploy-tests}/compose
mkdir -p "$state"

die() {
    echo "oracle.sh: $*" >&2
    exit 1
}

# venv VERSION PYYAML: makes the venv with that docker-compose, unless it is there and complete.
venv() {
    local venv=$state/$1 wanted
    wanted=$(cat "requirements-$1.txt" oracle.sh | sha256sum)
    if [ "$(cat "$venv/complete" 2>/dev/null)" = "$wanted" ] && "$venv/bin/python" -c '' 2>/dev/null; then
        return
    fi
    echo "installing docker-compose $1"
    rm -rf "$venv"
    python3 -m venv "$venv" >"$venv.log" 2>&1 || { cat "$venv.log"; die "python3 makes no venv; install python3-venv"; }
    # PyYAML before 6 does not build with Cython 3, and pip would fetch that to build it.
    {
        "$venv/bin/pip" install -q 'setuptools<70' wheel 'cython<3' &&
            "$venv/bin/pip" install -q --no-build-isolation "PyYAML==$2" &&
            "$venv/bin/pip" install -q --no-build-isolation --no-deps -r "requirements-$1.txt"
    } >"$venv.log" 2>&1 || { cat "$venv.log"; die "docker-compose $1 cannot be installed; does pip reach PyPI?"; }
    echo "$wanted" >"$venv/complete"
}

venv 1.25.4 5.3
venv 1.29.2 5.4.1

# The schemas that are built in are those of the packages.
schemas=../../src/core/compose/schemas
packages() { echo "$state/$1"/lib/python3*/site-packages/compose/config; }
for schema in "$schemas"/1.25.4/*.json; do
    cmp "$schema" "$(packages 1.25.4)/$(basename "$schema")"
done
cmp "$schemas/1.29.2/compose_spec.json" "$(packages 1.29.2)/compose_spec.json"

for version in 1.25.4 1.29.2; do
    "$state/$version/bin/python" oracle.py cases >"$state/$version.tsv"
done
{
    printf '# case\t1.25.4\t1.29.2\twords of 1.25.4\twords of 1.29.2\n'
    LC_ALL=C join -t "$(printf '\t')" -o 0,1.2,2.2,1.3,2.3 \
        <(LC_ALL=C sort "$state/1.25.4.tsv") <(LC_ALL=C sort "$state/1.29.2.tsv")
} >"$state/verdicts.tsv"

if [ "${1:-}" = --update ]; then
    cp "$state/verdicts.tsv" verdicts.tsv
# Words may name a set in any order; the verdicts count.
elif ! diff -u <(cut -f1-3 verdicts.tsv) <(cut -f1-3 "$state/verdicts.tsv"); then
    die "docker-compose says something else than verdicts.tsv; \`tests/compose/oracle.sh --update\` takes it over"
fi
echo "$(grep -vc '^#' verdicts.tsv) cases, as docker-compose 1.25.4 and 1.29.2 say themselves"
