# Removes images with all of their names, also those that docker cannot inspect; missing ones are no error.
# $@ IDs
for id; do
    there=$(docker image ls -aq --no-trunc </dev/null) || exit
    case $there in *"$id"*) docker image rm --force -- "$id" </dev/null >/dev/null || exit ;; esac
done
