//! Why a packet gets no session.

/// Reasons of [`crate::Nat::admit`]; the engine has a drop reason for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody inside has asked for this packet, and it does not begin anything that may begin.
    NoSession,
    /// The outside port is mapped, but not for this remote end (RFC 4787 §5).
    Filtered,
    /// No route leads to the destination, or none back to the source.
    NoRoute,
    /// The way back to the source does not lead to where the packet came from (RFC 3704 §2.2).
    SpoofedSource,
    /// No rule matches; of a packet from inside to an address of ours: none that lets it hairpin.
    NoRule,
    /// A `drop` rule matches.
    RuleDrop,
    /// The packet's time ended here; it might have begun a session else.
    TtlExpired,
    /// Translation of this protocol is not possible.
    UnsupportedProtocol,
    /// An address of ours that is not given to us now: the one that the packet is for, the one that
    /// would stand for its sender, or all of the pool.
    AddressNotHeld,
    /// The pool has no address for this host: none at all, or it is deterministic and the host is not
    /// one of its source prefix.
    PoolEmpty,
    /// The address of the pool that this host uses has no free port; or, of no pool, the outside end that
    /// a rule names or leaves as it is already talks to this remote end.
    PortsExhausted,
    /// The table has no room (RFC 6888 REQ-11: no session is deleted to make room, unless the
    /// configuration asks for it and there is one that is not established).
    TableFull,
    /// The source has as many sessions or mappings as it may have (RFC 6888 REQ-4).
    SourceLimit,
    /// All hosts of the pool have as many sessions or mappings as they may have.
    PoolLimit,
    /// The source, or the pool, has as many TCP sessions that are not open yet as it may have.
    HalfOpenLimit,
    /// The source, or the pool, begins more sessions in a second than it may.
    SessionRateLimit,
    /// A `deny` of the pool or rule has the source, or its `allow` has not.
    Denied,
    /// The table of neighbours has no room for the next hop.
    NeighborTableFull,
}
