# Compares the files of an image with their digests: reads every byte that its containers see.
# Standard input: lines "SHA256  PATH" with paths relative to the root, packed with gzip.
# $1 image  $2 "inside" to run its own sha256sum, "outside" if it has no shell or no sha256sum
# $3 directory for working files, whose present content is left over
# $4 word: prints "$4 WHAT PATH" for each file that is missing, empty or differs, then "$4 end" with the number of files
#    compared. Without it, fails if there are such files.
main() {
    image=$1 how=$2 dir=$3 word=${4:-}
    umask 077
    trap clean EXIT
    trap 'exit 129' HUP INT TERM PIPE
    clean
    # Otherwise docker would pull it from a registry.
    docker image inspect --format '{{.Id}}' "$image" >/dev/null </dev/null || exit
    mkdir -p -- "$dir" && cd -- "$dir" && gzip -dc >sums || exit
    # The shell or sha256sum of the image may be what is damaged.
    "$how" || { [ "$how" = inside ] && how=outside && outside; } || exit
    grep -v ': OK$' said | while IFS= read -r line; do
        # A name may contain ": FAILED", so only the last one is the verdict.
        case $line in *': FAILED'*) printf '%s\n' "${line%: FAILED*}" ;; esac
    done >failed
    if [ -s failed ] && [ -z "$word" ]; then
        echo "damaged on the disk, in a layer that docker had before: /$(head -n 1 failed) (in all: $(wc -l <failed))" >&2
        echo "to repair it, run: o3r-deploy apply --verify" >&2
        exit 1
    fi
    compared=$(compared)
    if [ -n "$word" ]; then
        if [ -s failed ]; then "look_$how"; fi
        echo "$word end $compared"
    elif [ "$compared" != "$(wc -l <sums)" ]; then
        echo "only $compared files of $image could be compared" >&2
        exit 1
    fi
}

inside() {
    # It fails if a file differs, too.
    run 'cd / && exec sha256sum -c 2>/dev/null' <sums >said
    code=$?
    [ "$code" -gt 1 ] || [ "$(compared)" != "$(wc -l <sums)" ] || return 0
    echo "sha256sum in a container of $image ended with exit code $code" >&2
    return 1
}

# Prints how many files were compared.
compared() { grep -c ': OK$\|: FAILED' said; }

look_inside() {
    run "cd / && $look" <failed
}

outside() {
    docker rm -f -v "$name" >/dev/null 2>&1 </dev/null
    docker create --name "$name" --network none --entrypoint /none "$image" >/dev/null </dev/null || return
    mkdir files || return
    # Devices cannot be created without root; no file below dev is compared.
    docker export "$name" | tar -C files -xomf - 2>tar-said
    chmod -R u+rwX files
    [ -n "$(ls files)" ] || { cat tar-said >&2; return 1; }
    if command -v sha256sum >/dev/null; then tool=sha256sum; else tool="busybox sha256sum"; fi
    (cd files && $tool -c ../sums 2>/dev/null) >said
    [ -s said ] || [ ! -s sums ] || { echo "the VPU has no sha256sum" >&2; return 1; }
}

look_outside() {
    (cd files && sh -c "$look" look "$word" <../failed)
}

# Prints what each file is.
# shellcheck disable=SC2016 # the shell in the container expands it
look='while IFS= read -r file; do
    what=differs
    if [ ! -e "$file" ]; then what=missing; elif [ ! -s "$file" ]; then what=empty; fi
    echo "$1 $what $file"
done'

# Runs a shell in a container that can write nothing.
run() {
    docker run --rm --interactive --name "$name" --runtime runc --network none --user 0 --log-driver none \
        --no-healthcheck --read-only --workdir / --env LC_ALL=C \
        --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        --entrypoint sh "$image" -c "$1" look "$word"
}

clean() {
    docker rm -f -v "$name" >/dev/null 2>&1 </dev/null
    cd / && rm -rf -- "$dir"
}

name=o3r-deploy-verify
main "$@"
