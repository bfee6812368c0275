# Ends a restore: removes the copies that were kept for it.
# $1… directories of kept files
main() {
    forget_kept "$@"
}

main "$@"
