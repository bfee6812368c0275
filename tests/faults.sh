#!/bin/sh
# Breaks applies at chosen commands on a twin, and looks what the VPU decides alone: see faults.py.
exec python3 "$(dirname "$0")/faults.py" "$@"
