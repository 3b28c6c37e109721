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
tftp tftp-hpa
in.tftpd tftpd-hpa
lftp lftp
tnftp tnftp
pptp pptp-linux
pptpd pptpd
pppd ppp
linux.uml user-mode-linux
END

# Debian's FTP servers exclude each other: of these only the program is taken, and the libraries it needs are installed.
alone=
libraries=
while read -r command package; do
	command -v "$command" >/dev/null 2>&1 || alone="$alone $command=$package"
done <<END
vsftpd vsftpd
proftpd proftpd-core
pure-ftpd pure-ftpd
END

[ -n "$missing$alone" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "integration tests: not installed, their tests will skip:$missing$alone"
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# The servers among them must not start: invoke-rc.d(8) asks this program.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
apt-get update -q
for each in $alone; do
	libraries="$libraries $(apt-cache depends "${each#*=}" | sed -n 's/^ *Depends: \(lib[^:]*\)$/\1/p')"
done
# shellcheck disable=SC2086 # lists of words
apt-get install -q -y --no-install-recommends $missing $libraries
for each in $alone; do
	dir=$(mktemp -d)
	(cd "$dir" && apt-get -o APT::Sandbox::User=root download -q "${each#*=}" && dpkg-deb -x ./*.deb unpacked)
	install "$dir/unpacked/usr/sbin/${each%%=*}" /usr/local/sbin/
	rm -rf "$dir"
done
