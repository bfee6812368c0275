# Runs a command with a file that the VPU keeps as its standard input.
# $1 the file  $2… the command
path=$1
shift
exec "$@" <"$path"
