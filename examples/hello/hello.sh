#!/bin/sh
# Serves a greeting on port 8000 until it is told to stop.
# A container's first process gets no default signal handlers: without the trap, stopping takes docker's 10 seconds.
trap 'echo "goodbye"; exit 0' TERM INT

mkdir -p /www
echo "${GREETING:-Hello}" >/www/index.html
echo "started with: ${GREETING:-Hello}" | tee -a /share/hello.log
httpd -f -p 8000 -h /www &
wait
