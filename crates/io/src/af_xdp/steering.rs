//! The program on a device while it lives: which sockets it brings frames to, and what it leaves to the
//! kernel.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use super::OpenError;
use super::bpf::{self, Link, Map};
use super::program;
use super::socket::XdpSocket;
use crate::link;

/// A steering program on a device. Without it the device is as if there were no AF_XDP: all frames come by
/// packet sockets.
#[derive(Debug)]
pub struct Steering {
    device: String,
    sockets: Map<u32, u32>,
    /// The [`program::key`]s of the kernel's own addresses.
    kernel: Map<[u8; 16], u32>,
    queues: u32,
    /// Taken off when dropped, and when the process ends, however it ends.
    _link: Link,
}

impl Steering {
    /// Puts a program on the device, which brings the frames of each queue to its socket, but for those for
    /// the addresses of `kernel`.
    pub(super) fn attach(
        device: &link::Link,
        sockets: &[&XdpSocket],
        kernel: &BTreeSet<IpAddr>,
    ) -> Result<Self, OpenError> {
        let name = &device.name;
        let queues = sockets.len() as u32;
        let failed = |step| move |source| OpenError::of(name, step, source);
        let made = Map::sockets(queues).map_err(failed("make a BPF map"))?;
        let addresses = Map::hash(KERNEL_ADDRESSES).map_err(failed("make a BPF map"))?;
        for address in kernel {
            let set = addresses.insert(&program::key(*address), &1);
            set.map_err(failed("tell the steering program of the kernel's addresses"))?;
        }
        for (queue, socket) in (0..).zip(sockets) {
            let set = made.insert(&queue, &socket.raw().cast_unsigned());
            set.map_err(failed("tell the steering program of a socket"))?;
        }
        let code = program::steering(device.mac, made.raw(), addresses.raw());
        let link = bpf::attach(&code, device.index);
        let link = link.map_err(failed("attach the steering program"))?;
        let device = device.name.clone();
        Ok(Self { device, sockets: made, kernel: addresses, queues, _link: link })
    }

    /// The kernel's own addresses are `now` and were `before`.
    ///
    /// # Errors
    /// The operating system's, when they are too many for the program: it brings nothing any more then, and
    /// all frames come by packet sockets.
    pub fn leave_to_kernel(&self, before: &[IpAddr], now: &[IpAddr]) -> io::Result<()> {
        // Each once: two devices may have the same address.
        let [before, now] = [before, now].map(|all| all.iter().copied().collect::<BTreeSet<_>>());
        // First what goes, so that there is room for what comes.
        let gone = before.difference(&now).map(|gone| self.kernel.remove(&program::key(*gone)));
        let come = now.difference(&before).map(|come| self.kernel.insert(&program::key(*come), &1));
        gone.chain(come).collect::<io::Result<()>>().inspect_err(|_| self.bring_nothing())
    }

    /// The device's name.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    fn bring_nothing(&self) {
        for queue in 0..self.queues {
            // One that is not there brings nothing.
            let _ = self.sockets.remove(&queue);
        }
    }
}

/// Most addresses of the kernel's own.
const KERNEL_ADDRESSES: u32 = 16_384;
