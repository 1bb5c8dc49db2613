//! Why a packet was dropped: one reason, one counter, one name in `show drops`.

use mooring_nat::Refusal;

use crate::neighbours::Ignored;

/// The reason of a drop, and the index of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// For or from an address of ours that is not given to this instance now.
    AddressNotHeld,
    /// A wrong checksum of an IPv4 header, or of a message meant for us to read.
    BadChecksum,
    /// An `allow` or `deny` list keeps the source from beginning anything.
    Denied,
    /// An ICMP error about an ICMP error (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)).
    ErrorAboutError,
    /// The outside port is mapped, but filtering does not let this remote end use it.
    Filtered,
    /// Fragmentation Needed or Packet Too Big below the smallest MTU that a link may have.
    ForgedMtu,
    /// A piece of a packet that has come before.
    FragmentDuplicate,
    /// A piece of a packet when no more can be remembered, or wait, or none of its sender.
    FragmentLimit,
    /// A piece of a packet that carries bytes which another one has carried, and all that come after it.
    FragmentOverlap,
    /// A first piece too short for its transport header, or one that would overwrite it (RFC 1858, RFC 3128).
    FragmentTiny,
    /// A piece of a packet whose first one was dropped or did not come, of an ICMP error, or for
    /// ourselves.
    FragmentUntranslated,
    /// Too many TCP sessions of the source or the pool that are not open yet.
    HalfOpenLimit,
    /// It belongs to another worker, whose ring is full.
    HandOverFull,
    /// An IP option that records or prescribes the route.
    IpOption,
    /// For an address of the kernel beside us: the kernel has it, and answers for itself.
    KernelAddress,
    /// Headers that contradict each other or the length of the packet.
    Malformed,
    /// A source or destination that no packet on a link may have (RFC 1812 §5.3.7).
    Martian,
    /// The table of neighbours has no room for another next hop.
    NeighborTableFull,
    /// The next hop did not answer, or too many packets wait for it already.
    NeighborUnresolved,
    /// No route leads to the destination, or none back to the source.
    NoRoute,
    /// No rule matches a new flow.
    NoRule,
    /// For an address of ours, but not for anything that we answer.
    NoService,
    /// Nobody inside has asked for this packet.
    NoSession,
    /// Not for our link address, or neither IP nor ARP.
    NotForUs,
    /// A TCP segment outside of the window of its connection.
    OutOfWindow,
    /// The pool has no address for this host.
    PoolEmpty,
    /// All hosts of the pool have as many sessions or mappings as they may have.
    PoolLimit,
    /// The pool has no free port for this host.
    PortsExhausted,
    /// An ICMP error about a packet of no session.
    QuoteUnknown,
    /// Our own answers are limited in rate; or no buffer was free for one, or for a piece of a packet
    /// that has to be cut.
    RateLimited,
    /// A `drop` rule matches.
    RuleDrop,
    /// The source or the pool begins more sessions in a second than it may.
    SessionRateLimit,
    /// The source has as many sessions as it may have.
    SourceLimit,
    /// The packet came from where its source cannot be.
    SpoofedSource,
    /// The session table has no room.
    TableFull,
    /// Longer than the MTU of the link that it would leave by.
    TooBig,
    /// Its time to live ended here.
    TtlExpired,
    /// A super-packet whose inner header the device would cut, or a jumbogram.
    UnsupportedOffload,
    /// A protocol or address family that this version does not translate.
    UnsupportedProtocol,
}

impl DropReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 39] = [
        Self::AddressNotHeld,
        Self::BadChecksum,
        Self::Denied,
        Self::ErrorAboutError,
        Self::Filtered,
        Self::ForgedMtu,
        Self::FragmentDuplicate,
        Self::FragmentLimit,
        Self::FragmentOverlap,
        Self::FragmentTiny,
        Self::FragmentUntranslated,
        Self::HalfOpenLimit,
        Self::HandOverFull,
        Self::IpOption,
        Self::KernelAddress,
        Self::Malformed,
        Self::Martian,
        Self::NeighborTableFull,
        Self::NeighborUnresolved,
        Self::NoRoute,
        Self::NoRule,
        Self::NoService,
        Self::NoSession,
        Self::NotForUs,
        Self::OutOfWindow,
        Self::PoolEmpty,
        Self::PoolLimit,
        Self::PortsExhausted,
        Self::QuoteUnknown,
        Self::RateLimited,
        Self::RuleDrop,
        Self::SessionRateLimit,
        Self::SourceLimit,
        Self::SpoofedSource,
        Self::TableFull,
        Self::TooBig,
        Self::TtlExpired,
        Self::UnsupportedOffload,
        Self::UnsupportedProtocol,
    ];

    /// The reason's name in `show drops`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddressNotHeld => "address_not_held",
            Self::BadChecksum => "bad_checksum",
            Self::Denied => "denied",
            Self::ErrorAboutError => "error_about_error",
            Self::Filtered => "filtered",
            Self::ForgedMtu => "forged_mtu",
            Self::FragmentDuplicate => "fragment_duplicate",
            Self::FragmentLimit => "fragment_limit",
            Self::FragmentOverlap => "fragment_overlap",
            Self::FragmentTiny => "fragment_tiny",
            Self::FragmentUntranslated => "fragment_untranslated",
            Self::HalfOpenLimit => "half_open_limit",
            Self::HandOverFull => "hand_over_full",
            Self::IpOption => "ip_option",
            Self::KernelAddress => "kernel_address",
            Self::Malformed => "malformed",
            Self::Martian => "martian",
            Self::NeighborTableFull => "neighbor_table_full",
            Self::NeighborUnresolved => "neighbor_unresolved",
            Self::NoRoute => "no_route",
            Self::NoRule => "no_rule",
            Self::NoService => "no_service",
            Self::NoSession => "no_session",
            Self::NotForUs => "not_for_us",
            Self::OutOfWindow => "out_of_window",
            Self::PoolEmpty => "pool_empty",
            Self::PoolLimit => "pool_limit",
            Self::PortsExhausted => "ports_exhausted",
            Self::QuoteUnknown => "quote_unknown",
            Self::RateLimited => "rate_limited",
            Self::RuleDrop => "rule_drop",
            Self::SessionRateLimit => "session_rate_limit",
            Self::SourceLimit => "source_limit",
            Self::SpoofedSource => "spoofed_source",
            Self::TableFull => "table_full",
            Self::TooBig => "too_big",
            Self::TtlExpired => "ttl_expired",
            Self::UnsupportedOffload => "unsupported_offload",
            Self::UnsupportedProtocol => "unsupported_protocol",
        }
    }
}

impl From<Refusal> for DropReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSession => Self::NoSession,
            Refusal::Filtered => Self::Filtered,
            Refusal::NoRoute => Self::NoRoute,
            Refusal::SpoofedSource => Self::SpoofedSource,
            Refusal::NoRule => Self::NoRule,
            Refusal::RuleDrop => Self::RuleDrop,
            Refusal::TtlExpired => Self::TtlExpired,
            Refusal::UnsupportedProtocol => Self::UnsupportedProtocol,
            Refusal::AddressNotHeld => Self::AddressNotHeld,
            Refusal::PoolEmpty => Self::PoolEmpty,
            Refusal::PortsExhausted => Self::PortsExhausted,
            Refusal::TableFull => Self::TableFull,
            Refusal::SourceLimit => Self::SourceLimit,
            Refusal::PoolLimit => Self::PoolLimit,
            Refusal::HalfOpenLimit => Self::HalfOpenLimit,
            Refusal::SessionRateLimit => Self::SessionRateLimit,
            Refusal::Denied => Self::Denied,
            Refusal::NeighborTableFull => Self::NeighborTableFull,
        }
    }
}

impl From<Ignored> for DropReason {
    fn from(ignored: Ignored) -> Self {
        match ignored {
            Ignored::Malformed => Self::Malformed,
            Ignored::BadChecksum => Self::BadChecksum,
            Ignored::BadSender => Self::SpoofedSource,
            Ignored::NotForUs => Self::NotForUs,
            Ignored::NoBuffer => Self::RateLimited,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::DropReason;

    #[test]
    fn every_reason_has_its_counter_and_a_name_of_its_own() {
        let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
