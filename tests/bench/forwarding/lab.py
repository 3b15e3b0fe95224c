"""The laboratory: three network namespaces a - r - b, programs pinned to processors, and what they used.

Everything has the laboratory's own names and is taken away at the end; nothing outside is touched.
"""

import json
import os
import shutil
import signal
import subprocess
import time

A, A_GATEWAY = "198.18.1.2", "198.18.1.1"
B, B_GATEWAY = "198.18.2.2", "198.18.2.1"
SINK_PORT = 9999
QUEUE_PACKETS = 5000


class LabError(Exception):
    """Something is missing or went wrong; the text says what to do."""


def run(*words, check=True, text_in=None):
    """Runs a program to its end and returns what it printed."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, input=text_in)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Program:
    """A program in the background."""

    def __init__(self, words, log):
        self.log_path = log
        self.log = open(log, "w")
        self.process = subprocess.Popen([str(w) for w in words], stdout=self.log, stderr=subprocess.STDOUT)
        self.pid = self.process.pid

    def output(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def wait_for(self, test, what, seconds=10):
        end = time.monotonic() + seconds
        while not test():
            if self.process.poll() is not None or time.monotonic() > end:
                raise LabError(f"{self.log_path}: {what} did not come; it says: {self.output()[-2000:]}")
            time.sleep(0.01)

    def cpu_seconds(self):
        """CPU time of the process, its threads and its descendants so far."""
        return sum(cpu_seconds_of(pid) for pid in descendants(self.pid))

    def pin(self, cpus):
        """Moves the process, its threads and its descendants to other processors."""
        for pid in descendants(self.pid):
            run("taskset", "--all-tasks", "--cpu-list", "--pid", cpus, pid)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def descendants(pid):
    """The process and all below it."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as children:
                    found += [int(child) for child in children.read().split()]
        except OSError:
            pass
    return found


def cpu_seconds_of(pid):
    """User and system time of one process. From schedstat (nanoseconds) where the kernel keeps it, else from stat."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as line:
                total += int(line.read().split()[0])
        if total:
            return total / 1e9
    except OSError:
        pass
    try:
        with open(f"/proc/{pid}/stat") as line:
            fields = line.read().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def ksoftirqd_seconds():
    """CPU time of the kernel threads that take over network work."""
    total = 0.0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as name:
                if name.read().startswith("ksoftirqd"):
                    total += cpu_seconds_of(pid)
        except OSError:
            pass
    return total


class Lab:
    """The namespaces, the sink, and the programs that run in them."""

    def __init__(self, out):
        self.out = out
        tag = f"nsbench{os.getpid()}"
        self.a, self.r, self.b = f"{tag}-a", f"{tag}-r", f"{tag}-b"
        self.bin = os.path.join(out, "bin")
        self.cpus = sorted(os.sched_getaffinity(0))
        self.sender_cpu, self.node_cpu = self.cpus[0], self.cpus[min(1, len(self.cpus) - 1)]
        self.all_cpus = ",".join(map(str, self.cpus))
        self.programs = []

    def open(self):
        if os.geteuid() != 0:
            raise LabError("network namespaces need root; run it with sudo")
        for program, package in PROGRAMS.items():
            if not shutil.which(program):
                raise LabError(f"{program} is missing; install it: apt-get install {package}")
        self.compile()
        self.wire()

    def compile(self):
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "c")
        os.makedirs(self.bin, exist_ok=True)
        for name, libraries in C_PROGRAMS.items():
            flags = [f"-l{library}" for library in libraries]
            run("cc", "-O2", "-Wall", "-o", f"{self.bin}/{name}", f"{source}/{name}.c", *flags)

    def wire(self):
        for name in (self.a, self.r, self.b):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for end, here, there in ((self.a, "a0", "ra"), (self.b, "b0", "rb")):
            run("ip", "link", "add", here, "netns", end, "type", "veth", "peer", "name", there, "netns", self.r)
            run("ip", "-n", end, "link", "set", here, "up")
            run("ip", "-n", self.r, "link", "set", there, "up")
        addresses = ((self.a, "a0", A), (self.r, "ra", A_GATEWAY), (self.r, "rb", B_GATEWAY), (self.b, "b0", B))
        for space, device, address in addresses:
            run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", device)
        run("ip", "-n", self.a, "route", "add", "default", "via", A_GATEWAY)
        run("ip", "-n", self.b, "route", "add", "default", "via", B_GATEWAY)
        # Address resolution would otherwise fall into some measurement.
        for space, device, address, peer in (
            (self.a, "a0", A_GATEWAY, (self.r, "ra")),
            (self.r, "ra", A, (self.a, "a0")),
            (self.r, "rb", B, (self.b, "b0")),
            (self.b, "b0", B_GATEWAY, (self.r, "rb")),
        ):
            mac = self.mac(*peer)
            run("ip", "-n", space, "neigh", "replace", address, "lladdr", mac, "dev", device, "nud", "permanent")
        self.inside(self.r, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
        self.inside(self.r, "sysctl", "-qw", "net.ipv4.conf.ra.rp_filter=0", "net.ipv4.conf.rb.rp_filter=0")
        self.inside(self.b, "nft", "-f", "-", text_in=SINK.format(device="b0", port=SINK_PORT))

    def close(self):
        for program in reversed(self.programs):
            program.stop()
        for name in (self.a, self.r, self.b):
            run("ip", "netns", "del", name, check=False)

    def mac(self, space, device):
        return json.loads(run("ip", "-n", space, "-j", "link", "show", device))[0]["address"]

    def inside(self, space, *words, **options):
        return run("ip", "netns", "exec", space, *words, **options)

    def pinned(self, space, cpu, *words, **options):
        """Runs a program in a namespace, on one processor, to its end."""
        return self.inside(space, "taskset", "-c", cpu, *words, **options)

    def start(self, space, cpu, name, *words):
        """Starts a program in a namespace, on one processor. `ip netns exec` becomes the program itself."""
        words = ("ip", "netns", "exec", space, "taskset", "-c", cpu, *words)
        program = Program(words, os.path.join(self.out, f"{name}.log"))
        self.programs.append(program)
        return program

    def stop(self, program):
        program.stop()
        self.programs.remove(program)

    def sunk(self):
        """Packets and bytes (from the IP header on) that reached the sink so far."""
        listed = json.loads(self.inside(self.b, "nft", "-j", "list", "counter", "netdev", "bench", "sunk"))
        counter = next(entry["counter"] for entry in listed["nftables"] if "counter" in entry)
        return counter["packets"], counter["bytes"]

    def ip(self, *words, **options):
        """Runs ip in the router's namespace."""
        return run("ip", "-n", self.r, *words, **options)

    def tun_packets(self):
        """Packets and super-packets that the router's TUN device handed to its program so far."""
        for link in json.loads(self.ip("-j", "-s", "-d", "link", "show")):
            if link.get("linkinfo", {}).get("info_kind") == "tun":
                return link["stats64"]["tx"]["packets"]
        raise LabError("the router has no TUN device")


PROGRAMS = {
    "ip": "iproute2", "nft": "nftables", "iptables": "iptables", "iperf3": "iperf3", "taskset": "util-linux",
    "sysctl": "procps", "cc": "gcc libc6-dev",
}

C_PROGRAMS = {"tun_loop": [], "send": [], "rtt": [], "nfqueue": ["netfilter_queue", "nfnetlink"]}

SINK = """
table netdev bench {{
  counter sunk {{ }}
  chain in {{
    type filter hook ingress device {device} priority 0; policy accept;
    udp dport {port} counter name sunk drop
  }}
}}
"""
