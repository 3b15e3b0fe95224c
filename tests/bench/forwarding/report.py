"""Turns the rounds into medians, a table and a picture."""

import statistics

# key of the table, measure, number in it, title, unit, digits, whether more is better
COLUMNS = [
    ("flood_64", "flood_64", "kpps_per_cpu", "64 B", "k packets per CPU-second", 0, True),
    ("flood_1400", "flood_1400", "kpps_per_cpu", "1400 B", "k packets per CPU-second", 0, True),
    ("stream_64", "stream_64", "kpps_per_cpu", "64 B, one flow, UDP socket", "k packets per CPU-second", 0, True),
    ("stream_64_flows", "stream_64_flows", "kpps_per_cpu", "64 B, 64 flows, UDP sockets", "k packets per CPU-second", 0, True),
    ("stream_1400", "stream_1400", "kpps_per_cpu", "1400 B, 4 flows, UDP sockets", "k packets per CPU-second", 0, True),
    ("wall_64", "flood_64", "wall_kpps", "64 B, wall clock", "k packets per second", 0, True),
    ("loss_free", "loss_free", "kpps", "64 B, without loss", "k packets per second", 0, True),
    ("path", "path", "ns", "path of one packet, 64 B", "ns of CPU", 0, False),
    ("tcp", "tcp", "gbit_per_second", "TCP, ends on one CPU", "Gbit/s", 2, True),
    ("tcp_free", "tcp_free", "gbit_per_second", "TCP, not pinned", "Gbit/s", 2, True),
    ("tcp_cpu", "tcp", "gbit_per_cpu", "TCP", "Gbit per CPU-second", 1, True),
    ("rtt_p50", "rtt", "p50_us", "round trip, median", "us", 1, False),
    ("rtt_p99", "rtt", "p99_us", "round trip, 99 of 100", "us", 1, False),
    ("rtt_far", "rtt_far", "p50_us", "round trip, median, node on a sleeping CPU", "us", 1, False),
]


class Results:
    """All numbers of a run: `rounds[i][variant][measure]` is a dictionary of numbers."""

    def __init__(self, rounds):
        self.rounds = rounds

    def values(self, variant, measure, number):
        got = (one.get(variant, {}).get(measure, {}).get(number) for one in self.rounds)
        return [value for value in got if value is not None]

    def median(self, variant, measure, number):
        values = self.values(variant, measure, number)
        return statistics.median(values) if values else None

    def per_round(self, combine, *keys):
        """The median over rounds of `combine` of several numbers of the same round; what else the machine did then
        weighs on all of them alike."""
        combined = []
        for one in self.rounds:
            got = [one.get(v, {}).get(m, {}).get(n) for v, m, n in keys]
            if None not in got and got[-1]:
                combined.append(combine(*got))
        return statistics.median(combined) if combined else None

    def ratio(self, variant, base, measure, number):
        return self.per_round(lambda x, y: x / y, (variant, measure, number), (base, measure, number))

    def added(self, variant, base, measure, number):
        return self.per_round(lambda x, y: x - y, (variant, measure, number), (base, measure, number))


def goals(results):
    """The goals of the project: text, bound, whether at least or at most, what was measured."""
    ratio, added = results.ratio, results.added
    per_cpu = "kpps_per_cpu"
    return [
        ("no module, 64 B: packets per CPU-second, against the C loop", ">=", 0.95, ratio("netserv", "c", "flood_64", per_cpu)),
        ("no module, 64 B, one flow: packets per CPU-second, against the C loop", ">=", 1.3, ratio("netserv", "c", "stream_64", per_cpu)),
        ("no module, 1400 B, 4 flows: packets per CPU-second, against the C loop", ">=", 1.3, ratio("netserv", "c", "stream_1400", per_cpu)),
        ("empty Luau handler, 64 B: packets per CPU-second, against no module", ">=", 0.90, ratio("netserv-luau", "netserv", "flood_64", per_cpu)),
        ("no module: TCP, against kernel forwarding", ">=", 0.87, ratio("netserv", "kernel", "tcp", "gbit_per_second")),
        ("no module: rate without loss, against NFQUEUE", ">=", 1.0, ratio("netserv", "nfqueue", "loss_free", "kpps")),
        ("no module: added round trip at the median, us", "<=", 15, added("netserv", "kernel", "rtt", "p50_us")),
    ]


def shown(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def goal_table(results):
    lines = ["| goal | wanted | measured | |", "|---|---|---|---|"]
    for text, relation, bound, got in goals(results):
        met = got is not None and (got >= bound if relation == ">=" else got <= bound)
        word = "not measured" if got is None else "met" if met else "**missed**"
        lines.append(f"| {text} | {relation} {bound} | {shown(got, 2)} | {word} |")
    return "\n".join(lines)


def value_table(results, variants):
    """One row per quantity, one column per variant; medians, in brackets the ratio to the C loop (or to the kernel)."""
    lines = ["| | " + " | ".join(v.title for v in variants) + " |", "|---|" + "---:|" * len(variants)]
    for _, measure, number, title, unit, digits, _ in COLUMNS:
        cells = []
        for variant in variants:
            value = results.median(variant.name, measure, number)
            base = "c" if number == "kpps_per_cpu" else "kernel"
            ratio = results.ratio(variant.name, base, measure, number)
            note = "" if ratio is None or variant.name == base else f" ({ratio:.2f})"
            # The sender gave up before the router did.
            least = ">= " if measure == "loss_free" and results.median(variant.name, measure, "sender_limit") else ""
            cells.append(least + shown(value, digits) + note)
        if any(cell != "-" for cell in cells):
            lines.append(f"| {title}, {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(results, variants, machine, options):
    """The whole report as Markdown."""
    about = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    count = len(results.rounds)
    ways = f"{count} round{'' if count == 1 else 's'}, {options.seconds:g} s for each measurement"
    return f"""# Forwarding, measured

Made by `tests/bench/forwarding/run`; do not edit. {ways}; one round is every variant once, in
changing order. Shown are medians over the rounds; in brackets the median of the rounds' ratios: of packets per CPU-second to
the bare C loop, of everything else to kernel forwarding. [How to read and repeat it](../performance.md#forwarding).

![what was measured, as bars](forwarding.svg)

## Machine

{about}

## Goals

{goal_table(results)}

## Numbers

{value_table(results, variants)}
"""


# --- the picture ---

BAR, GAP, LABEL, PANEL, HEAD, COLUMNS_OF_PANELS = 16, 4, 250, 560, 44, 2
COLORS = {"kernel": "#8c8c8c", "c": "#b07aa1", "nfqueue": "#e08b3c", "netserv": "#2f7ebc"}


def color(name):
    return COLORS.get(name.split("-")[0], "#555555")


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def panel(results, variants, column, left, top):
    """One quantity: a bar for each variant that has it."""
    _, measure, number, title, unit, digits, more = column
    bars = [(v, results.median(v.name, measure, number)) for v in variants]
    bars = [(v, value) for v, value in bars if value is not None]
    most = max((value for _, value in bars), default=0) or 1
    room = PANEL - LABEL - 80
    better = "more is better" if more else "less is better"
    out = [f'<text x="{left}" y="{top + 16}" class="t">{escape(title)}</text>']
    out.append(f'<text x="{left}" y="{top + 32}" class="u">{escape(unit)}; {better}</text>')
    for i, (variant, value) in enumerate(bars):
        y = top + HEAD + i * (BAR + GAP)
        width = max(1, value / most * room)
        values = results.values(variant.name, measure, number)
        low, high = (left + LABEL + x / most * room for x in (min(values), min(max(values), most * 1.1)))
        middle = y + BAR / 2
        out.append(f'<text x="{left + LABEL - 6}" y="{y + 12}" class="l">{escape(variant.title)}</text>')
        out.append(f'<rect x="{left + LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{color(variant.name)}"/>')
        out.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" class="s"/>')
        end = max(left + LABEL + width, high) + 5
        out.append(f'<text x="{end:.1f}" y="{y + 12}" class="v">{shown(value, digits)}</text>')
    return out


def picture(results, variants):
    """All quantities as bars; the thin line spans all rounds."""
    columns = [c for c in COLUMNS if any(results.values(v.name, c[1], c[2]) for v in variants)]
    height = HEAD + len(variants) * (BAR + GAP) + 24
    rows = -(-len(columns) // COLUMNS_OF_PANELS)
    size = (COLUMNS_OF_PANELS * (PANEL + 20) + 20, rows * height + 20)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" height="{size[1]}">',
        "<style>text{font:12px sans-serif;fill:#222}.t{font-weight:bold;font-size:14px}.u,.v{fill:#555}.l{text-anchor:end}"
        ".s{stroke:#222;stroke-opacity:.5}</style>",
        f'<rect width="{size[0]}" height="{size[1]}" fill="#ffffff"/>',
    ]
    for i, column in enumerate(columns):
        left, top = 20 + i % COLUMNS_OF_PANELS * (PANEL + 20), 10 + i // COLUMNS_OF_PANELS * height
        out += panel(results, variants, column, left, top)
    return "\n".join([*out, "</svg>", ""])
