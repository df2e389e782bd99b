#!/bin/sh
# readiness and liveness of the sentinel in this pod
[ "$(timeout "${1:-5}" valkey-cli -p 26379 ping)" = PONG ]
