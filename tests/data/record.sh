#!/bin/sh
# Records the captures of this folder again, in two network namespaces that it makes and removes.
# Needs root, and iproute2 ethtool tcpdump dumpcap curl openssl python3 dnsmasq dig iperf3 ping.
# Usage: record.sh FOLDER
set -eu
out=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
a=nsdata-a b=nsdata-b
servers=

cleanup() {
    for pid in $servers; do kill "$pid" 2>/dev/null || true; done
    ip netns del $a 2>/dev/null || true
    ip netns del $b 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

ip netns add $a
ip netns add $b
ip -n $a link add eth0 type veth peer name eth0 netns $b
for ns in $a $b; do
    [ $ns = $a ] && host=1 || host=2
    ip netns exec $ns sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    ip -n $ns link set eth0 address 02:00:00:00:00:0$host
    ip -n $ns link set lo up
    # Frames as they would be on a cable: no super-packets, whole checksums.
    ip netns exec $ns ethtool -K eth0 tso off gso off gro off tx off rx off >/dev/null
    ip -n $ns addr add 192.0.2.$host/24 dev eth0
    ip -n $ns addr add 2001:db8::$host/64 dev eth0 nodad
    ip -n $ns link set eth0 up
done
sleep 1

# record FILE 'OPTIONS OF TCPDUMP' 'FILTER' COMMAND...: what passes while the command runs in namespace a.
record() {
    file=$1 options=$2 filter=$3
    shift 3
    # shellcheck disable=SC2086
    ip netns exec $a tcpdump -q -U -Z root $options -w "$out/$file" "$filter" 2>/dev/null &
    dump=$!
    sleep 1
    ip netns exec $a "$@" >/dev/null 2>&1 || true
    sleep 1
    kill -INT $dump
    wait $dump || true
}
serve() {
    ip netns exec $b "$@" >/dev/null 2>&1 &
    servers="$servers $!"
}

echo 'Hello from netserv: this text passes through a node of netserv.' >"$work/hello.txt"
seq 1 2000 >"$work/numbers.txt"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=www.example.org \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
serve python3 -m http.server --directory "$work" --bind 192.0.2.2 80
serve openssl s_server -quiet -accept 443 -cert "$work/cert.pem" -key "$work/key.pem" -WWW
serve dnsmasq --no-daemon --no-resolv --no-hosts --conf-file=/dev/null --listen-address=192.0.2.2,2001:db8::2 \
    --address=/www.example.org/192.0.2.2 --address=/www.example.org/2001:db8::2 \
    --txt-record=text.example.org,"a text of netserv" --bind-interfaces
serve iperf3 -s
serve python3 "$here/peer.py" echo
sleep 1

record http.pcap '-i eth0' 'tcp port 80' sh -c 'curl -s http://192.0.2.2/hello.txt; curl -s http://192.0.2.2/numbers.txt'
record dns.pcap '-i eth0 --time-stamp-precision=nano' 'port 53' sh -c '
    dig +tries=1 @192.0.2.2 www.example.org A; dig +tries=1 @192.0.2.2 www.example.org AAAA
    dig +tries=1 @2001:db8::2 www.example.org A; dig +tries=1 @192.0.2.2 text.example.org TXT
    dig +tries=1 @192.0.2.2 missing.example.org A; dig +tcp @192.0.2.2 www.example.org A'
record ping.pcap '-i eth0' 'icmp or icmp6 or arp' sh -c '
    ip neigh flush all; ping -c 3 -i 0.2 192.0.2.2; ping -c 3 -i 0.2 -s 700 2001:db8::2; ping -c 1 -W 1 192.0.2.77'
record iperf-snap96.pcap '-i eth0 -s 96' 'port 5201' sh -c 'iperf3 -c 192.0.2.2 -n 60K; iperf3 -c 2001:db8::2 -u -l 1200 -b 1M -n 24K'
record fragments.pcap '-i eth0' 'ip or ip6' python3 "$here/peer.py" fragments
record extensions.pcap '-i eth0' 'ip6' python3 "$here/peer.py" extensions
record sctp.pcap '-i eth0' 'ip or ip6' python3 "$here/peer.py" sctp
record cooked.pcap '-i any -y LINUX_SLL' 'not ip6' ping -c 2 -i 0.2 192.0.2.2
record cooked2.pcap '-i any -y LINUX_SLL2' 'not ip6' ping -c 2 -i 0.2 192.0.2.2
python3 "$here/peer.py" big-endian "$out/ping.pcap" "$out/ping-bigendian.pcap"
for link in tags raw loopback ppp; do
    python3 "$here/peer.py" relink "$out/ping.pcap" "$out/$link.pcap" $link
done

ip netns exec $a dumpcap -q -i eth0 -f 'tcp port 443' -w "$out/tls.pcapng" 2>/dev/null &
dump=$!
sleep 1
ip netns exec $a curl -sk --resolve www.example.org:443:192.0.2.2 https://www.example.org/hello.txt >/dev/null || true
ip netns exec $a curl -sk --resolve 'www.example.net:443:[2001:db8::2]' https://www.example.net/hello.txt >/dev/null || true
sleep 1
kill -INT $dump
wait $dump || true
python3 "$here/peer.py" plain "$out/tls.pcapng"
chmod 644 "$out"/*
