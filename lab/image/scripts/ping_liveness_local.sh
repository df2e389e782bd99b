#!/bin/sh
# liveness of the valkey server in this pod
[ "$(timeout "${1:-5}" valkey-cli ping)" = PONG ]
