//! How the kernel shares the frames of a device out among workers.

use std::io;

use super::socket::PacketSocket;

/// The group of packet sockets that the workers have on one device (PACKET_FANOUT_CBPF).
#[derive(Debug)]
pub struct FanOut {
    /// Another handle of a member; nothing is received by it.
    member: PacketSocket,
}

impl FanOut {
    pub(super) const fn new(member: PacketSocket) -> Self {
        Self { member }
    }

    /// Frames go to the worker that `program` names, from now on: classic BPF, whose result is taken modulo
    /// the number of workers. Offsets are those from the network header (`SKF_NET_OFF`).
    ///
    /// # Errors
    /// The operating system's: EINVAL for what is no program. Then the one before stays.
    pub fn share_out(
        &self,
        program: impl IntoIterator<Item = libc::sock_filter>,
    ) -> io::Result<()> {
        self.member.share_out(&program.into_iter().collect::<Vec<_>>())
    }
}
