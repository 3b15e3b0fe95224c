"""What is compared: each variant makes the router's packets take one way, and says which process does the work."""

import os

from lab import QUEUE_PACKETS, LabError

HERE = os.path.dirname(os.path.abspath(__file__))


class Kernel:
    """Plain forwarding: nothing in the way."""

    def __init__(self, lab, name, title):
        self.lab, self.name, self.title = lab, name, title
        self.program = None

    def start(self):
        """Puts it in the way."""

    def stop(self):
        """Takes it out of the way again."""
        if self.program:
            self.lab.stop(self.program)
            self.program = None

    def seen(self):
        """Packets that took this way so far. `None` where there is no detour to count."""
        return None

    def cpu_seconds(self):
        return self.program.cpu_seconds() if self.program else 0.0


class TunLoop(Kernel):
    """Policy rules into a TUN device, and a loop in C behind it."""

    def __init__(self, lab, name, title, mode):
        super().__init__(lab, name, title)
        self.mode = mode

    def start(self):
        lab = self.lab
        self.program = lab.start(lab.r, lab.node_cpu, self.name, f"{lab.bin}/tun_loop", "bench0", self.mode)
        self.program.wait_for(lambda: "ready" in self.program.output(), "the TUN device")
        lab.ip("link", "set", "bench0", "up", "mtu", 65535, "txqueuelen", QUEUE_PACKETS)
        lab.ip("route", "add", "default", "dev", "bench0", "table", 100)
        for device in ("ra", "rb"):
            lab.ip("rule", "add", "pref", 100, "iif", device, "lookup", 100)

    def stop(self):
        for device in ("ra", "rb"):
            self.lab.ip("rule", "del", "pref", 100, "iif", device, "lookup", 100, check=False)
        super().stop()

    def seen(self):
        return self.lab.tun_packets()


class Nfqueue(Kernel):
    """An NFQUEUE rule for all forwarded packets, and a program that accepts them."""

    def __init__(self, lab, name, title, mode):
        super().__init__(lab, name, title)
        self.mode = mode

    RULE = ("FORWARD", "-j", "NFQUEUE", "--queue-num", "0", "--queue-bypass")

    def start(self):
        lab = self.lab
        self.program = lab.start(lab.r, lab.node_cpu, self.name, f"{lab.bin}/nfqueue", "0", self.mode)
        self.program.wait_for(lambda: "ready" in self.program.output(), "the queue")
        lab.inside(lab.r, "iptables-nft", "-t", "filter", "-A", *self.RULE)

    def stop(self):
        # The whole table goes, so that no empty hook is left to cost the other variants anything.
        self.lab.inside(self.lab.r, "nft", "flush", "ruleset", check=False)
        super().stop()

    def seen(self):
        # queue, peer, waiting, copy mode, copy range, dropped (queue), dropped (socket), id of the last packet, 1
        for line in self.lab.inside(self.lab.r, "cat", "/proc/net/netfilter/nfnetlink_queue").splitlines():
            return int(line.split()[7])
        return 0


class Netserv(Kernel):
    """The node, with a module or without."""

    def __init__(self, lab, name, title, netserv, module=None, settings=""):
        super().__init__(lab, name, title)
        self.netserv, self.module, self.settings = netserv, module, settings

    def config(self):
        """A configuration of its own, so that no node of this machine is disturbed."""
        out = self.lab.out
        asked = "" if self.module else 'capture = ["all"]\n'
        module = f'[[module]]\nfolder = "{HERE}/../modules/{self.module}"\n' if self.module else ""
        text = (
            f'log = "warn"\nlinks = ["tun:bench0"]\ncontrol = "{out}/netserv.sock"\nstate = "{out}/state"\n'
            f'{asked}{self.settings}[steering]\nforwarded = true\nown = false\nmasquerade = "no"\n{module}'
        )
        path = os.path.join(out, f"{self.name}.toml")
        with open(path, "w") as file:
            file.write(text)
        return path

    def start(self):
        lab = self.lab
        before = lab.ip("rule", "show")
        words = (self.netserv, "run", "--config", self.config())
        self.program = lab.start(lab.r, lab.node_cpu, self.name, *words)
        self.program.wait_for(lambda: lab.ip("rule", "show") != before, "the node's rules")

    def seen(self):
        return self.lab.tun_packets()


def all_variants(lab, netserv):
    """All variants, in the order of the table."""
    return [
        Kernel(lab, "kernel", "kernel forwarding"),
        TunLoop(lab, "c", "bare TUN loop in C", "block"),
        TunLoop(lab, "c-epoll", "bare TUN loop in C, epoll", "epoll"),
        TunLoop(lab, "c-offload", "bare TUN loop in C, offload header", "offload"),
        Nfqueue(lab, "nfqueue", "NFQUEUE, accept each", "each"),
        Nfqueue(lab, "nfqueue-batch", "NFQUEUE, super-packets and batches", "batch"),
        Netserv(lab, "netserv", "netserv, no module", netserv),
        Netserv(lab, "netserv-native", "netserv, native rule", netserv, "native"),
        Netserv(lab, "netserv-luau", "netserv, empty Luau handler", netserv, "empty"),
        Netserv(lab, "netserv-luau-raw", "netserv, empty raw handler", netserv, "empty-raw"),
        Netserv(lab, "netserv-plain", "netserv, no offload header", netserv, settings="plain = true\n"),
    ]


def chosen(lab, netserv, names):
    """The variants that the user asked for by name."""
    variants = all_variants(lab, netserv)
    unknown = set(names) - {variant.name for variant in variants}
    if unknown:
        raise LabError(f"no variant {', '.join(sorted(unknown))}; there are {', '.join(v.name for v in variants)}")
    return [variant for variant in variants if not names or variant.name in names]
