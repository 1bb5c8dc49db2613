//! The queues of a TUN/TAP device: `/dev/net/tun` and its requests (linux/if_tun.h).
//!
//! All of this module's unsafe code: three ioctls, each with an argument that lives on our stack.
#![expect(unsafe_code, reason = "ioctl has no safe form for TUN requests")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use mooring_packet::Abilities;

/// Opens one queue of the TAP device `name`, which is made if there is none; it vanishes with its last
/// queue. If there is to be `metadata`, frames carry a `virtio_net_hdr` of 10 bytes in front.
///
/// # Errors
/// The operating system's: `ENOENT` without `/dev/net/tun`, `EBUSY` when the device has another owner,
/// `EINVAL` when it is another kind of device, or such a queue cannot be had.
pub(super) fn open_queue(name: &str, metadata: bool) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(PATH)?;
    let mut request = named(name)?;
    let in_front = if metadata { libc::IFF_VNET_HDR } else { 0 };
    request.ifr_ifru.ifru_flags =
        (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE | in_front) as i16;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is.
    let done =
        unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as libc::Ioctl, &mut request) };
    answered(done)?;
    if !metadata {
        return Ok(file);
    }
    let header = HEADER_LEN as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one `int`, which `header` is.
    let done =
        unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ as libc::Ioctl, &header) };
    answered(done)?;
    Ok(file)
}

/// Says what super-packets the kernel may hand us; as much as it knows. Kernels before 6.2 do not know
/// those of UDP. What was said counts for the whole device and outlives who said it, so it is always
/// said.
pub(super) fn set_offloads(queue: &File) -> io::Result<Abilities> {
    // Without TSO_ECN the kernel would cut every super-packet whose sender has slowed down.
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let with_udp = tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6;
    let set = |flags: libc::c_uint| {
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        let done = unsafe {
            libc::ioctl(
                queue.as_raw_fd(),
                libc::TUNSETOFFLOAD as libc::Ioctl,
                libc::c_ulong::from(flags),
            )
        };
        answered(done)
    };
    let udp_segmentation = set(with_udp).is_ok();
    if !udp_segmentation {
        set(tcp)?;
    }
    Ok(Abilities { partial_checksum: true, tcp_segmentation: true, udp_segmentation })
}

fn named(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all bytes of an `ifreq` may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn answered(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The node that makes devices.
pub(super) const PATH: &str = "/dev/net/tun";

/// Bytes of `struct virtio_net_hdr` in front of each frame.
pub(super) const HEADER_LEN: usize = 10;
