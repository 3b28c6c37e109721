#!/bin/sh
# Installs the clients and servers that the integration tests run, where they are missing and this is root on Debian
# or one of its kin. Without them the tests that need them skip and say so.
set -eu

missing=
while read -r command package; do
	command -v "$command" >/dev/null 2>&1 || missing="$missing $package"
done <<END
iperf3 iperf3
curl curl
ping iputils-ping
traceroute traceroute
tcpdump tcpdump
ip iproute2
nft nftables
turnserver coturn
turnutils_natdiscovery coturn
END

[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "integration tests: not installed, their tests will skip:$missing"
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086 # a list of words
apt-get install -q -y --no-install-recommends $missing
