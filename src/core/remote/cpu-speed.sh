# Makes up random numbers and hashes them for a few hundredths of a second; prints how many times $1 bytes, and in how
# many hundredths. The clock is the VPU's own, for the way there may take longer than the work; changes nothing.
main() {
    now
    edge=$now
    while now && [ "$now" = "$edge" ]; do :; done
    start=$now times=0
    while [ $((now - start)) -lt 5 ]; do
        said=$(head -c "$1" /dev/urandom | sha256sum) && [ "${#said}" -ge 64 ] || exit
        times=$((times + 1))
        now
    done
    # A login shell may have begun a line.
    printf '\n%s\n' "$times $((now - start))"
}

# Hundredths of a second since boot.
now() {
    read -r now _ </proc/uptime || exit
    now=${now%.*}${now#*.}
}

main "$@"
