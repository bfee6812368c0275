#!/usr/bin/env bash
# Checks the manifest's schema with the tools that editors use: taplo and tombi accept every good
# document and refuse every bad one, and a language server completes and explains keys.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly TAPLO=0.9.3 TOMBI=1.9.6
cache="${XDG_CACHE_HOME:-$HOME/.cache}/o3r-deploy-test/toml-tools-$TAPLO-$TOMBI"
schema="$PWD/schemas/deploy.schema.json"

make_venv() {
    python3 -m venv "$1" && return
    # Debian ships venv apart from python3.
    if ! command -v apt-get >/dev/null; then
        echo "check.sh: install python3-venv" >&2
        return 1
    fi
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -q
    "${sudo[@]}" apt-get install -q -y --no-install-recommends python3-venv
    rm -rf "$1"
    python3 -m venv "$1"
}

if [ ! -e "$cache/complete" ]; then
    rm -rf "$cache"
    mkdir -p "$(dirname "$cache")"
    make_venv "$cache"
    "$cache/bin/pip" install --quiet --disable-pip-version-check "taplo==$TAPLO" "tombi==$TOMBI"
    touch "$cache/complete"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Tombi reads the schema's place from a configuration above the documents. They are copied, so
# that what stands above this directory plays no part.
cp -r tests/manifests o3r-deploy.toml.example "$work"
sed -i '/^#:schema/d' "$work/o3r-deploy.toml.example"
mv "$work/o3r-deploy.toml.example" "$work/example.toml"
cat >"$work/tombi.toml" <<TOML
[[schemas]]
path = "$schema"
include = ["**/*.toml"]
TOML
cd "$work"

passed=0 failed=0
lint() { # TOOL FILE
    case $1 in
    taplo) "$cache/bin/taplo" lint --schema "file://$schema" "$2" ;;
    tombi) "$cache/bin/tombi" lint --offline "$2" ;;
    esac >lint.log 2>&1
}
fail() {
    failed=$((failed + 1))
    echo "$*" >&2
    sed 's/^/    /' lint.log >&2
}
for tool in taplo tombi; do
    for file in example.toml manifests/valid/*.toml manifests/unsupported/*.toml manifests/invalid/meaning/*.toml; do
        # The schema cannot know what a document with unknown keys beside its defect means.
        [ "$file" = manifests/invalid/meaning/meaning_beside_a_schema_error.toml ] && continue
        if lint $tool "$file"; then passed=$((passed + 1)); else fail "$tool refuses $file"; fi
    done
    for file in manifests/invalid/{syntax,schema}/*.toml; do
        if lint $tool "$file"; then fail "$tool accepts $file"; else passed=$((passed + 1)); fi
    done
done
cd "$OLDPWD"

# The list of VPUs beside a manifest has a schema of its own.
vpus=$(mktemp -d)
trap 'rm -rf "$work" "$vpus"' EXIT
cp tests/manifests/vpus/beside/vpus.toml "$vpus/good.toml"
cp tests/manifests/vpus/typos/vpus.toml "$vpus/bad.toml"
schema="$PWD/schemas/vpus.schema.json"
sed "s|^path = .*|path = \"$schema\"|" "$work/tombi.toml" >"$vpus/tombi.toml"
cd "$vpus"
for tool in taplo tombi; do
    if lint $tool good.toml; then passed=$((passed + 1)); else fail "$tool refuses vpus.toml"; fi
    if lint $tool bad.toml; then fail "$tool accepts a bad vpus.toml"; else passed=$((passed + 1)); fi
done
cd "$OLDPWD"
schema="$PWD/schemas/deploy.schema.json"

if python3 tests/schema/lsp.py "$schema" "$cache/bin/tombi" lsp --offline; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
fi
echo "schema: $passed passed, $failed failed"
[ "$failed" = 0 ]
