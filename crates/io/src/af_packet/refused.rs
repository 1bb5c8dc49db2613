//! What a kernel may refuse to packet sockets, which serve all the same.

use std::io;

use mooring_packet::Abilities;

use super::ABILITIES;

/// What the kernel has refused to the sockets of a port, each with its reason.
#[derive(Debug, Default)]
pub struct Refused {
    /// The [`mooring_packet::Offload`] in front of every frame. Then super-packets and unfinished checksums are
    /// told by the frames themselves (`bare.rs`) and leave cut and completed.
    pub metadata: Option<io::Error>,
    /// The ring that frames wait in. Then each batch is fetched by a system call.
    pub ring: Option<io::Error>,
}

impl Refused {
    /// What a port carries without it.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        if self.metadata.is_some() { Abilities::default() } else { ABILITIES }
    }

    /// A sentence for each.
    pub fn notices(&self) -> impl Iterator<Item = String> {
        let metadata = self.metadata.as_ref().map(|error| {
            format!(
                "no offload metadata (PACKET_VNET_HDR: {error}): checksums are completed and \
                 super-packets cut here, those of UDP are dropped"
            )
        });
        let ring = self.ring.as_ref().map(|error| {
            format!("no receive ring (PACKET_RX_RING: {error}): each batch is a system call")
        });
        metadata.into_iter().chain(ring)
    }
}
