#!/bin/sh
# uTP and TCP over an emulated bottleneck, between real kernels: a user namespace with two networks, no privileges.
# Needs Linux, iproute2 and /dev/net/tun. Options: --case PART, --who ebb,ledbat,ledbat++,cubic,tcp,bbr,
# --beside cubic|bbr, --json FILE. TCP is CUBIC, whatever the kernel takes by itself, unless BBR is asked for.
set -eu
cd "$(dirname "$0")/.."
exec cargo run -q --release -p utp-tests --bin linkemu -- "$@"
