"""The parts of record.sh for which there is no common program."""

import socket
import struct
import sys
import time


def echo():
    """Answers UDP datagrams on port 7, over IPv4 and IPv6."""
    both = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    both.bind(("::", 7))
    while True:
        data, peer = both.recvfrom(65535)
        both.sendto(data, peer)


def fragments():
    """Datagrams that need two and four fragments, and their answers; port 9 answers by ICMP."""
    for family, host in ((socket.AF_INET, "192.0.2.2"), (socket.AF_INET6, "2001:db8::2")):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.settimeout(1)
        for size in (100, 2000, 5000):
            udp.sendto(b"netserv " * (size // 8), (host, 7))
            udp.recv(65535)
        udp.sendto(b"x" * 3000, (host, 9))
        time.sleep(0.2)


def extensions():
    """UDP behind hop-by-hop and destination options, and behind both with fragments."""
    hop = bytes((0, 0, 5, 2, 0, 0, 1, 0))  # router alert
    options = bytes((0, 0, 1, 4, 0, 0, 0, 0))  # padding
    for headers, size in (((hop,), 40), ((None, options), 40), ((hop, options), 40), ((hop, options), 3000)):
        udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        udp.settimeout(1)
        if headers[0]:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, headers[0])
        if len(headers) > 1:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, headers[1])
        udp.sendto(b"netserv " * (size // 8), ("2001:db8::2", 7))
        udp.recv(65535)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sctp():
    """INIT chunks; the other side has no SCTP, and says so by ICMP."""
    for family, host in ((socket.AF_INET, "192.0.2.2"), (socket.AF_INET6, "2001:db8::2")):
        raw = socket.socket(family, socket.SOCK_RAW, 132)
        chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 0x12345678, 65536, 10, 10, 1)
        packet = struct.pack("!HHII", 40000, 5060, 0, 0) + chunk
        packet = packet[:8] + struct.pack("<I", crc32c(packet)) + packet[12:]
        raw.sendto(packet, (host, 0))
        time.sleep(0.2)


def big_endian(source, target):
    """Writes a little-endian pcap file in the other byte order."""
    data = open(source, "rb").read()
    out = struct.pack(">IHHiIII", *struct.unpack("<IHHiIII", data[:24]))
    at = 24
    while at < len(data):
        record = struct.unpack("<IIII", data[at : at + 16])
        out += struct.pack(">IIII", *record) + data[at + 16 : at + 16 + record[2]]
        at += 16 + record[2]
    open(target, "wb").write(out)


def relink(source, target, link):
    """Puts the packets of a capture behind other link headers."""
    data = open(source, "rb").read()
    link_type = {"tags": 1, "raw": 101, "loopback": 0, "ppp": 9}[link]
    out = data[:20] + struct.pack("<I", link_type)
    at, count = 24, 0
    while at < len(data):
        seconds, micros, captured, wire = struct.unpack("<IIII", data[at : at + 16])
        frame = data[at + 16 : at + 16 + captured]
        at, count = at + 16 + captured, count + 1
        kind, packet = frame[12:14], frame[14:]
        six = kind == b"\x86\xdd"
        ppp = b"\x00\x57" if six else b"\x00\x21"
        if link == "tags" and (kind == b"\x08\x06" or count % 3 == 0):
            frame = frame[:12] + b"\x81\x00\x00\x07" + frame[12:]
        elif link == "tags" and count % 3 == 1:
            frame = frame[:12] + b"\x88\xa8\x00\x64\x81\x00\x00\x08" + frame[12:]
        elif link == "tags":
            session = struct.pack("!BBHH", 0x11, 0, 1, len(packet) + 2)
            frame = frame[:12] + b"\x81\x00\x00\x09\x88\x64" + session + ppp + packet
        elif kind == b"\x08\x06":
            continue
        else:
            frame = {"raw": b"", "loopback": struct.pack(">I", 30 if six else 2), "ppp": b"\xff\x03" + ppp}[link] + packet
        wire += len(frame) - captured
        out += struct.pack("<IIII", seconds, micros, len(frame), wire) + frame
    open(target, "wb").write(out)


def plain(path):
    """Takes out of a pcapng file what it says about the machine: the options of its section, and of the interface."""
    data = open(path, "rb").read()
    out, at = b"", 0
    while at < len(data):
        kind, size = struct.unpack("<II", data[at : at + 8])
        body = data[at + 8 : at + size - 4]
        at += size
        if kind == 0x0A0D0D0A:
            body = body[:16]
        elif kind == 1:
            # if_tsresol stays.
            body = body[:8] + struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)
        elif kind != 6:
            continue
        out += struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
    open(path, "wb").write(out)


WORKS = {
    "echo": echo,
    "fragments": fragments,
    "extensions": extensions,
    "sctp": sctp,
    "big-endian": big_endian,
    "relink": relink,
    "plain": plain,
}
WORKS[sys.argv[1]](*sys.argv[2:])
