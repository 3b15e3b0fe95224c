//! Counters by name, and the reasons for which a packet is dropped.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet was dropped. Each reason has a counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)+];

            /// The name in reports and in `--json`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(DropReason::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The first byte says neither IPv4 nor IPv6.
    NotIp = "not_ip",
    /// The IPv4 or IPv6 header is cut short or contradicts itself.
    IpHeader = "ip_header",
    /// The header says more bytes than came.
    IpLength = "ip_length",
    /// An IPv6 extension header or an IPv4 authentication header is cut short or out of order.
    ExtensionHeader = "extension_header",
    /// The TCP, UDP or ICMP header is cut short or contradicts itself.
    TransportHeader = "transport_header",
    /// A module returned the verdict "drop".
    ModuleVerdict = "module_verdict",
    /// A native rule that a module left behind for the flow says "drop".
    FlowRule = "flow_rule",
    /// A later fragment of a packet whose first fragment was dropped.
    FragmentOfDropped = "fragment_of_dropped",
    /// A module failed, and its manifest says that what it cannot judge must not pass.
    ModuleFault = "module_fault",
    /// A module has used up its share of the CPU, and its manifest says that what it cannot judge must not pass.
    ModuleBudget = "module_budget",
    /// A module injected more than its bandwidth allows.
    ModuleBandwidth = "module_bandwidth",
    /// A module injected more than the driver could take.
    OutputsFull = "outputs_full",
    /// A module made a packet that is no valid IP packet.
    InjectedMalformed = "injected_malformed",
    /// The link that the packet must leave by is gone or cannot send.
    LinkDown = "link_down",
    /// The link's queue was full.
    LinkFull = "link_full",
    /// A signalling message no longer fits into its packet.
    GistNoRoom = "gist_no_room",
    /// A signalling message that cannot be decoded.
    SignalingMalformed = "signaling_malformed",
    /// A signalling message that breaks a rule, or has no more hops to go.
    SignalingRefused = "signaling_refused",
    /// More signalling messages than this node looks at.
    SignalingLimited = "signaling_limited",
}

/// One counter per [`DropReason`].
#[derive(Clone, Debug)]
pub struct Drops(Vec<u64>);

impl Default for Drops {
    fn default() -> Self {
        Drops(vec![0; DropReason::ALL.len()])
    }
}

impl Drops {
    /// Counts `count` packets.
    pub fn add(&mut self, reason: DropReason, count: u64) {
        self.0[reason as usize] += count;
    }

    /// How many packets were dropped for `reason`.
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// All reasons that occurred, with their counts, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|r| (*r, self.of(*r))).filter(|(_, count)| *count > 0)
    }

    /// How many packets were dropped at all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// What a link counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Packets taken in; a super-packet counts as its segments.
    pub packets_in: u64,
    /// Bytes taken in, as on the wire of this link.
    pub bytes_in: u64,
    /// Reads; with super-packets and coalescing fewer than packets.
    pub reads: u64,
    /// Packets passed on or sent; a super-packet counts as its segments.
    pub packets_out: u64,
    /// Bytes passed on or sent.
    pub bytes_out: u64,
    /// Frames that hold no IP packet. They pass inline, and are not looked at.
    pub not_ip: u64,
}
