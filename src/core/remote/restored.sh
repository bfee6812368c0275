# Ends a restore: what was kept for it goes.
# $1… directories of kept files
main() {
    forget_kept "$@"
}

main "$@"
