# Hashes random bytes for a few hundredths of a second; prints how many blocks of $1 bytes it hashed, and the hundredths
# of a second. It measures with the VPU's clock because the link may take longer than the work. Read-only.
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
    # A login shell may have printed an unfinished line.
    printf '\n%s\n' "$times $((now - start))"
}

# Hundredths of a second since boot.
now() {
    read -r now _ </proc/uptime || exit
    now=${now%.*}${now#*.}
}

main "$@"
