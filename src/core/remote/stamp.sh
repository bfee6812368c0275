# Part of record-release: the note of the release that the manifest asks for.

# Appends the line $2 to deployments.jsonl in the directory $1; of 1000 lines, the last 500 stay.
stamp() {
    file=$1/deployments.jsonl
    if ! { mkdir -p -- "$1" && printf '%s\n' "$2" >>"$file"; }; then
        echo "WARNING: $file cannot be written" >&2
        return
    fi
    if [ "$(wc -l <"$file")" -gt 1000 ]; then
        tail -n 500 -- "$file" >"$file.new" && mv -f -- "$file.new" "$file"
    fi
}

