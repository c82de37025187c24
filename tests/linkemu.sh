#!/bin/sh
# uTP and TCP over an emulated bottleneck, between real kernels: a user namespace with two networks, no privileges.
# Needs Linux, iproute2 and /dev/net/tun. Options: --case PART, --who ebb,ledbat,ledbat++,cubic,tcp, --json FILE.
set -eu
cd "$(dirname "$0")/.."
exec cargo run -q --release -p utp-tests --bin linkemu -- "$@"
