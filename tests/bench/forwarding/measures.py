"""What is measured of each variant. Each measure returns a dictionary of numbers."""

import json
import statistics
import time

from lab import A, B, SINK_PORT, LabError, ksoftirqd_seconds

UDP_IP_BYTES = 28
FLOWS = 64


def settled(lab):
    """Packets and bytes in the sink once nothing arrives any more."""
    last = lab.sunk()
    while True:
        time.sleep(0.05)
        now = lab.sunk()
        if now == last:
            return now
        last = now


def send(lab, *words):
    """Runs the sender to its end: packets, seconds, seconds of CPU."""
    sent, took_ns, cpu_ns = lab.pinned(lab.a, lab.sender_cpu, f"{lab.bin}/send", *words).split()
    return int(sent), int(took_ns) / 1e9, int(cpu_ns) / 1e9


def send_frames(lab, ip_bytes, rate, seconds):
    return send(lab, "packet", "a0", lab.mac(lab.r, "ra"), A, B, ip_bytes, FLOWS, rate, seconds)


def send_sockets(lab, ip_bytes, flows, rate, seconds):
    return send(lab, "socket", B, ip_bytes, flows, rate, seconds)


def traffic(lab, variant, ip_bytes, sender):
    """Sends, waits until all has arrived, and counts. Super-packets count as the datagrams in them."""
    packets_before, bytes_before = settled(lab)
    cpu_before, soft_before = variant.cpu_seconds(), ksoftirqd_seconds()
    sent, took, sender_cpu = sender()
    packets_after, bytes_after = settled(lab)
    node_cpu, soft_cpu = variant.cpu_seconds() - cpu_before, ksoftirqd_seconds() - soft_before
    payload = bytes_after - bytes_before - UDP_IP_BYTES * (packets_after - packets_before)
    delivered = payload // (ip_bytes - UDP_IP_BYTES)
    if delivered == 0:
        raise LabError(f"{variant.name}: nothing arrived of {sent} packets; see {lab.out}/{variant.name}.log")
    return {
        "sent": sent,
        "delivered": delivered,
        "arrived_whole": packets_after - packets_before,
        "seconds": took,
        "wall_kpps": delivered / took / 1e3,
        "node_cpu_seconds": node_cpu,
        "node_busy": node_cpu / took,
        "kpps_per_cpu": delivered / node_cpu / 1e3 if node_cpu else None,
        "path_ns": (sender_cpu + node_cpu + soft_cpu) / delivered * 1e9,
    }


def flood(ip_bytes):
    """As many frames as the sender can make, 64 flows in turn."""
    return lambda lab, variant, seconds: traffic(
        lab, variant, ip_bytes, lambda: send_frames(lab, ip_bytes, 0, seconds)
    )


def stream(ip_bytes, flows):
    """UDP sockets that send 64 datagrams in a row, with checksums left to the device: what may be coalesced."""
    return lambda lab, variant, seconds: traffic(
        lab, variant, ip_bytes, lambda: send_sockets(lab, ip_bytes, flows, 0, seconds)
    )


PATH_RATE = 100_000

DROP_AT_ROUTER = f"""
table netdev base {{
  chain in {{
    type filter hook ingress device ra priority -1
    udp dport {SINK_PORT} drop
  }}
}}
"""


def path(lab, variant, seconds):
    """CPU time of sender, node and ksoftirqd per packet at a rate without loss, less the sender's own."""
    got = traffic(lab, variant, 46, lambda: send_frames(lab, 46, PATH_RATE, seconds))
    lab.inside(lab.r, "nft", "-f", "-", text_in=DROP_AT_ROUTER)
    soft_before = ksoftirqd_seconds()
    sent, _, sender_cpu = send_frames(lab, 46, PATH_RATE, seconds)
    alone_ns = (sender_cpu + ksoftirqd_seconds() - soft_before) / sent * 1e9
    lab.inside(lab.r, "nft", "delete", "table", "netdev", "base")
    return {"ns": got["path_ns"] - alone_ns, "loss": 1 - got["delivered"] / got["sent"], "sender_ns": alone_ns}


def tcp(free):
    """One TCP stream, super-packets at both ends. Ends on the sender's processor and the node on its own; or all free."""

    def measure(lab, variant, seconds):
        cpus = lab.all_cpus if free else str(lab.sender_cpu)
        if free and variant.program:
            variant.program.pin(lab.all_cpus)
        server = lab.start(lab.b, cpus, "iperf3", "iperf3", "--server", "--one-off", "--forceflush")
        server.wait_for(lambda: "listening" in server.output(), "the iperf3 server")
        cpu_before = variant.cpu_seconds()
        words = ("iperf3", "--client", B, "--time", max(1, round(seconds)), "--json", "--connect-timeout", 3000)
        report = json.loads(lab.pinned(lab.a, cpus, *words))
        cpu = variant.cpu_seconds() - cpu_before
        lab.stop(server)
        if free and variant.program:
            variant.program.pin(lab.node_cpu)
        received = report["end"]["sum_received"]
        return {
            "gbit_per_second": received["bits_per_second"] / 1e9,
            "retransmits": report["end"]["sum_sent"].get("retransmits"),
            "node_cpu_seconds": cpu,
            "gbit_per_cpu": received["bytes"] * 8e-9 / cpu if cpu else None,
        }

    return measure


def rtt(free):
    """Round trips by ICMP echo, one at a time, through the idle router. Free: the scheduler places all, as on any
    machine. Otherwise the node sits on a processor of its own, which each packet must wake up.
    Also proves that packets take the variant's way."""

    def measure(lab, variant, seconds):
        count = max(50, round(seconds * 500))
        cpus = lab.all_cpus if free else str(lab.sender_cpu)
        if free and variant.program:
            variant.program.pin(lab.all_cpus)
        seen_before = variant.seen()
        answered, *times = lab.pinned(lab.a, cpus, f"{lab.bin}/rtt", B, count, 500).split()
        answered = int(answered)
        if seen_before is not None and variant.seen() - seen_before < 2 * answered:
            took = variant.seen() - seen_before
            raise LabError(f"{variant.name}: only {took} of {2 * answered} packets took its way")
        if free and variant.program:
            variant.program.pin(lab.node_cpu)
        if answered < count:
            raise LabError(f"{variant.name}: {count - answered} of {count} echoes were lost")
        times = sorted(int(t) / 1e3 for t in times)
        return {"p50_us": statistics.median(times), "p99_us": times[len(times) * 99 // 100], "min_us": times[0]}

    return measure


LOSS_SECONDS, LOSS_LOW, LOSS_HIGH, LOSS_SHARE = 0.4, 20_000, 1_300_000, 0.02


def loss_free(lab, variant, seconds):
    """The highest rate of 46-byte packets at which two of three trials lose nothing, by halving, to within
    2 %."""
    trial_seconds = min(LOSS_SECONDS, seconds)
    too_fast = LOSS_HIGH

    def passes(rate):
        nonlocal too_fast
        good = bad = slow = 0
        while good < 2 and bad < 2:
            got = traffic(lab, variant, 46, lambda: send_frames(lab, 46, rate, trial_seconds))
            if got["sent"] / got["seconds"] < 0.97 * rate:
                # The sender was too slow, perhaps by chance: that says nothing about this rate.
                slow += 1
                if slow == 4:
                    too_fast = min(too_fast, rate)
                    return False
            elif got["delivered"] == got["sent"]:
                good += 1
            else:
                bad += 1
        return good == 2

    low, high = LOSS_LOW, LOSS_HIGH
    if not passes(low):
        return {"kpps": 0.0, "sender_limit": 0}
    while high - low > LOSS_SHARE * low:
        middle = (low + high) // 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return {"kpps": low / 1e3, "sender_limit": int(high == too_fast)}


MEASURES = {
    "rtt": rtt(True),
    "rtt_far": rtt(False),
    "flood_64": flood(46),
    "flood_1400": flood(1400),
    "stream_64": stream(46, 1),
    "stream_64_flows": stream(46, 64),
    "stream_1400": stream(1400, 4),
    "path": path,
    "tcp": tcp(False),
    "tcp_free": tcp(True),
    "loss_free": loss_free,
}
