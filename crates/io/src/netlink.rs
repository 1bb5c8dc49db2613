//! Netlink, as far as this crate speaks it: composing messages, sending them in one datagram, and
//! reading dumps and acknowledgements. All numbers are in native byte order unless a payload says
//! otherwise (nf_tables payloads are big-endian).
//!
//! Knows no message type beyond the control ones of `include/uapi/linux/netlink.h`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname,
    recv, send, socket_with,
};

/// A socket to the kernel.
#[derive(Debug)]
pub(crate) struct NetlinkSocket {
    fd: OwnedFd,
}

impl NetlinkSocket {
    /// A socket of one netlink family: [`ROUTE`], or one of `rustix::net::netlink`.
    pub(crate) fn open(family: Option<Protocol>) -> io::Result<Self> {
        let kind = SocketType::RAW;
        let fd = socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, family)?;
        Ok(Self { fd })
    }

    /// The number of this socket, unique in its network namespace and family.
    pub(crate) fn port(&self) -> io::Result<u32> {
        bind(&self.fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(SocketAddrNetlink::try_from(getsockname(&self.fd)?)?.pid())
    }

    /// Has the kernel tell of changes: `groups` are bits of `RTMGRP_*`. Reads no longer block then.
    pub(crate) fn join_groups(&self, groups: u32) -> io::Result<()> {
        bind(&self.fd, &SocketAddrNetlink::new(0, groups))?;
        Ok(rustix::io::ioctl_fionbio(&self.fd, true)?)
    }

    /// Takes one datagram and looks at nothing of it.
    pub(crate) fn discard(&self) -> io::Result<()> {
        recv(&self.fd, &mut [0; 64][..], RecvFlags::empty())?;
        Ok(())
    }

    /// Sends messages as one datagram.
    pub(crate) fn send(&self, messages: &[u8]) -> io::Result<()> {
        send(&self.fd, messages, SendFlags::empty())?;
        Ok(())
    }

    /// The bodies of all objects that a dump request names, without the netlink header.
    ///
    /// `header` is the fixed header of the family (`ifinfomsg`, `rtmsg`).
    pub(crate) fn dump(&self, kind: u16, header: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        for _ in 0..DUMP_ATTEMPTS {
            let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
            self.send(&message(kind, flags, 0, header, []))?;
            if let Some(bodies) = self.read_dump()? {
                return Ok(bodies);
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "the kernel's tables kept changing"))
    }

    /// The body of the one object that `header` names, without the netlink header.
    pub(crate) fn get(&self, kind: u16, header: &[u8]) -> io::Result<Vec<u8>> {
        self.send(&message(kind, libc::NLM_F_REQUEST as u16, 0, header, []))?;
        let reply = self.receive()?.into_iter().next();
        match reply.map(|reply| reply.content) {
            Some(Content::Object(body)) => Ok(body),
            Some(Content::Status(Err(error))) => Err(error),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The rest of a dump. `None` when the tables changed meanwhile, so that it must be repeated.
    fn read_dump(&self) -> io::Result<Option<Vec<Vec<u8>>>> {
        let mut bodies = Vec::new();
        let mut consistent = true;
        loop {
            for reply in self.receive()? {
                consistent &= !reply.interrupted;
                match reply.content {
                    Content::Done => return Ok(consistent.then_some(bodies)),
                    Content::Status(Err(error)) => return Err(error),
                    Content::Status(Ok(())) => {}
                    Content::Object(body) => bodies.push(body),
                }
            }
        }
    }

    /// The messages of the next datagram; blocks until there is one.
    pub(crate) fn receive(&self) -> io::Result<Vec<Reply>> {
        let mut buffer = vec![0; RECEIVE_BUFFER];
        let (len, _) = recv(&self.fd, &mut buffer[..], RecvFlags::empty())?;
        Ok(replies(&buffer[..len]))
    }
}

impl AsRawFd for NetlinkSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// One message from the kernel.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The sequence number of the request that it answers.
    pub(crate) sequence: u32,
    /// True when a dump is inconsistent because the table changed under it.
    interrupted: bool,
    /// What it says.
    pub(crate) content: Content,
}

/// What a message from the kernel says.
#[derive(Debug)]
pub(crate) enum Content {
    /// The end of a dump.
    Done,
    /// An acknowledgement or an error.
    Status(io::Result<()>),
    /// An object: the family's fixed header and attributes.
    Object(Vec<u8>),
}

/// A message: netlink header, the family's fixed header, attributes.
pub(crate) fn message(
    kind: u16,
    flags: u16,
    sequence: u32,
    header: &[u8],
    attributes: impl IntoIterator<Item = Vec<u8>>,
) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend_from_slice(header);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes.extend(attributes.into_iter().flatten());
    let len = u32::try_from(bytes.len()).expect("a request is a few hundred bytes long");
    bytes[0..4].copy_from_slice(&len.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    bytes
}

/// One attribute, padded.
pub(crate) fn attribute(kind: u16, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let len = u16::try_from(ATTRIBUTE_HEADER_LEN + payload.len())
        .expect("an attribute of a request is a few hundred bytes long");
    let mut bytes = Vec::with_capacity(usize::from(len).next_multiple_of(ALIGNMENT));
    bytes.extend(len.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes
}

/// An attribute that holds attributes.
pub(crate) fn nested(kind: u16, attributes: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let payload: Vec<u8> = attributes.into_iter().flatten().collect();
    attribute(kind | libc::NLA_F_NESTED as u16, payload)
}

/// A string attribute, with its NUL.
pub(crate) fn string(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, [text.as_bytes(), &[0]].concat())
}

/// The attributes in `bytes`, as (kind, payload). Ends at the first malformed one.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & libc::NLA_TYPE_MASK as u16;
        let payload = bytes.get(ATTRIBUTE_HEADER_LEN..len)?;
        bytes = bytes.get(len.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// The number at byte `at`, in native byte order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// The number at byte `at`, in native byte order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The messages of one datagram. Ends at the first malformed one.
fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some((reply, rest)) = split_reply(bytes) {
        replies.push(reply);
        bytes = rest;
    }
    replies
}

fn split_reply(bytes: &[u8]) -> Option<(Reply, &[u8])> {
    let len = u32_at(bytes, 0)? as usize;
    let body = bytes.get(HEADER_LEN..len)?;
    let content = match i32::from(u16_at(bytes, 4)?) {
        libc::NLMSG_DONE => Content::Done,
        libc::NLMSG_ERROR => Content::Status(match u32_at(body, 0)?.cast_signed() {
            0 => Ok(()),
            negative => Err(io::Error::from_raw_os_error(negative.wrapping_neg())),
        }),
        _ => Content::Object(body.to_vec()),
    };
    let interrupted = u16_at(bytes, 6)? & libc::NLM_F_DUMP_INTR as u16 != 0;
    let rest = bytes.get(len.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    Some((Reply { sequence: u32_at(bytes, 8)?, interrupted, content }, rest))
}

/// `NETLINK_ROUTE`, which is number 0: devices, addresses, routes.
pub(crate) const ROUTE: Option<Protocol> = None;
/// Bytes of `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
/// Bytes of `struct nlattr`.
const ATTRIBUTE_HEADER_LEN: usize = 4;
/// Messages and attributes begin at multiples of this many bytes.
const ALIGNMENT: usize = 4;
/// Bytes; the kernel fills at most 32 KB of one datagram of a dump.
const RECEIVE_BUFFER: usize = 65_536;
/// How often a dump is repeated when the tables change under it.
const DUMP_ATTEMPTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::{Content, attribute, attributes, message, nested, replies, string};

    #[test]
    fn attributes_are_padded_and_read_back() {
        let bytes =
            [attribute(1, [7; 5]), string(2, "eth0"), nested(3, [attribute(4, [])])].concat();
        assert_eq!(bytes.len(), 12 + 12 + 8);
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read, [(1, &[7; 5][..]), (2, b"eth0\0"), (3, &[4, 0, 4, 0])]);
    }

    #[test]
    fn a_malformed_attribute_ends_the_walk() {
        let good = attribute(1, [1, 2, 3, 4]);
        for cut in 1..good.len() {
            assert_eq!(attributes(&good[..cut]).count(), 0);
        }
        // A length shorter than its own header must not loop for ever.
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
    }

    #[test]
    fn tells_objects_acknowledgements_errors_and_the_end() {
        let datagram = [
            message(16, 0, 1, &[9, 9, 9, 9], []),
            message(2, 0, 2, &0i32.to_ne_bytes(), []),
            message(2, 0, 3, &(-1i32).to_ne_bytes(), []),
            message(3, 0x10, 4, &[], []),
        ]
        .concat();
        let read = replies(&datagram);
        assert_eq!(read.iter().map(|reply| reply.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert!(matches!(&read[0].content, Content::Object(body) if body == &[9, 9, 9, 9]));
        assert!(matches!(&read[1].content, Content::Status(Ok(()))));
        assert!(matches!(&read[2].content, Content::Status(Err(error))
            if error.raw_os_error() == Some(libc::EPERM)));
        assert!(matches!(&read[3].content, Content::Done) && read[3].interrupted);
        assert!(replies(&datagram[..15]).is_empty());
        assert!(replies(&[0; 16]).is_empty(), "a length of 0 must not loop for ever");
    }
}
