#!/bin/sh
# Puts the captures of the tests folder of Debian's source package tcpdump into FOLDER.
# Needs a Debian or Ubuntu machine with its package sources set up; no root, and nothing is installed or changed.
# Usage: fetch-tcpdump-captures.sh FOLDER
# Then:  NETSERV_TCPDUMP_TESTS=FOLDER cargo test --test replay
set -eu
mkdir -p "$1"
target=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/parts" "$work/lists/partial" "$work/cache/archives/partial" "$work/source"

# The machine's own package sources, as sources of source packages: both notations of apt.
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$list" ] && sed -n 's/^deb[[:space:]]/deb-src /p' "$list" >>"$work/sources.list"
done
touch "$work/sources.list"
for list in /etc/apt/sources.list.d/*.sources; do
    [ -f "$list" ] && sed 's/^Types:.*/Types: deb-src/' "$list" >"$work/parts/$(basename "$list")"
done

apt() {
    apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts="$work/parts" \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o Dir::Cache::pkgcache= \
        -o Dir::Cache::srcpkgcache= -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" "$@"
}
apt update
(cd "$work/source" && apt source --download-only tcpdump)
# The second file is the signature of the first.
archive=$(find "$work/source" -name 'tcpdump_*.orig.tar.*' ! -name '*.asc')
tar -xf "$archive" -C "$work/source" --wildcards '*/tests/*'
find "$work/source" -path '*/tests/*' -name '*.pcap*' -exec cp {} "$target" \;
echo "$(find "$target" -maxdepth 1 -name '*.pcap*' | wc -l) captures in $target"
