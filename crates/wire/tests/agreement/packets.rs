//! Valid packets of every layer, written field by field, and damage to them.

use mooring_wire::Protocol;
use mooring_wire::checksum::pseudo_v4;
use mooring_wire::icmpv4::Icmpv4;
use mooring_wire::icmpv6::Icmpv6;
use mooring_wire::ipv4::Ipv4;
use mooring_wire::tcp::Tcp;
use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::{Index, select};

use super::{ENDS_V4, ENDS_V6, Layer};

/// Packets that every receiver accepts, most of them with right checksums, and that no
/// difference is allowed on.
pub(crate) fn valid(layer: Layer) -> BoxedStrategy<Vec<u8>> {
    let payload = vec(any::<u8>(), 0..40);
    match layer {
        Layer::Ethernet => vec(any::<u8>(), 14..80).boxed(),
        Layer::Arp => (any::<[u8; 22]>(), payload)
            .prop_map(|(rest, padding)| [&[0, 1, 8, 0, 6, 4][..], &rest, &padding].concat())
            .boxed(),
        Layer::Ipv4 => ipv4().boxed(),
        Layer::Ipv6 => ipv6().boxed(),
        Layer::Udp => (any::<[u8; 6]>(), payload, vec(any::<u8>(), 0..4))
            .prop_map(|(fields, payload, padding)| {
                let [a, b, c, d, e, f] = fields;
                let header = [a, b, c, d, 0, 8 + payload.len() as u8, e, f];
                [&header[..], &payload, &padding].concat()
            })
            .boxed(),
        Layer::Tcp => tcp().boxed(),
        Layer::Icmpv4 => (any::<[u8; 8]>(), payload)
            .prop_filter("a timestamp has 20 bytes", |(header, _)| !matches!(header[0], 13 | 14))
            .prop_map(|(header, payload)| {
                let mut bytes = [&header[..], &payload].concat();
                Icmpv4::parse(&mut bytes[..]).unwrap().fill_checksum();
                bytes
            })
            .boxed(),
        Layer::Icmpv6 => (any::<[u8; 8]>(), payload)
            .prop_map(|(header, payload)| {
                let mut bytes = [&header[..], &payload].concat();
                let mut message = Icmpv6::parse(&mut bytes[..]).unwrap();
                message.fill_checksum(ENDS_V6.0, ENDS_V6.1);
                bytes
            })
            .boxed(),
    }
}

/// Valid packets with up to four bytes replaced, mostly in the header and by telling values, then
/// perhaps cut off or lengthened.
pub(crate) fn damaged(layer: Layer) -> BoxedStrategy<Vec<u8>> {
    let telling =
        select(vec![0, 1, 2, 4, 5, 8, 17, 19, 20, 21, 40, 43, 44, 51, 60, 0x44, 0x4f, 0x50]);
    let value = prop_oneof![telling, any::<u8>()];
    let at = prop_oneof![4 => 0..60usize, 1 => 0..128usize];
    let edits = vec((at, value), 0..5);
    let resize = prop_oneof![
        3 => Just(None),
        1 => any::<Index>().prop_map(Some),
    ];
    (valid(layer), edits, resize, vec(any::<u8>(), 0..8))
        .prop_map(|(mut bytes, edits, resize, more)| {
            for (at, value) in edits {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            match resize {
                Some(len) => bytes.truncate(len.index(bytes.len() + 1)),
                None => bytes.extend(more),
            }
            bytes
        })
        .boxed()
}

/// Options of any kind, a multiple of 4 bytes.
fn options() -> impl Strategy<Value = Vec<u8>> {
    (0..=10usize).prop_flat_map(|words| vec(any::<u8>(), words * 4))
}

fn ipv4() -> impl Strategy<Value = Vec<u8>> {
    let fields = any::<[u8; 20]>()
        .prop_filter("an authentication header is a reason", |fields| fields[9] != Protocol::AH.0);
    (fields, options(), vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..8)).prop_map(
        |(mut header, options, payload, padding)| {
            header[0] = 0x45 + options.len() as u8 / 4;
            header[2] = 0;
            header[3] = (20 + options.len() + payload.len()) as u8;
            let mut bytes = [&header[..], &options, &payload, &padding].concat();
            Ipv4::parse(&mut bytes[..]).unwrap().fill_checksum();
            bytes
        },
    )
}

fn tcp() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 20]>(), options(), vec(any::<u8>(), 0..40)).prop_map(
        |(mut header, options, payload)| {
            header[12] = header[12] & 0x0f | (5 + options.len() as u8 / 4) << 4;
            let mut bytes = [&header[..], &options, &payload].concat();
            let pseudo = pseudo_v4(ENDS_V4.0, ENDS_V4.1, Protocol::TCP, bytes.len() as u16);
            Tcp::parse(&mut bytes[..]).unwrap().fill_checksum(pseudo);
            bytes
        },
    )
}

/// An IPv6 packet with up to eight extension headers, hop-by-hop options only as the first, and
/// fragment headers that say that the packet is whole.
fn ipv6() -> impl Strategy<Value = Vec<u8>> {
    let kinds = vec(select(vec![43, 44, 51, 60]), 0..8);
    let upper = select(vec![6, 17, 58, 59, 50, 253]);
    (any::<[u8; 40]>(), any::<bool>(), kinds, upper, vec(any::<u8>(), 1..40)).prop_map(
        |(mut header, hop_by_hop, mut kinds, upper, payload)| {
            if hop_by_hop {
                kinds.insert(0, 0);
            }
            let mut after = kinds[kinds.len().min(1)..].iter().copied().chain([upper]);
            let mut chain = Vec::new();
            for kind in &kinds {
                chain.extend(extension(*kind, after.next().unwrap(), payload[0]));
            }
            header[0] = 0x60 | header[0] & 0x0f;
            let len = (chain.len() + payload.len()) as u16;
            header[4..6].copy_from_slice(&len.to_be_bytes());
            header[6] = kinds.first().copied().unwrap_or(upper);
            [&header[..], &chain, &payload].concat()
        },
    )
}

/// An extension header of this kind, its length taken from `size`.
fn extension(kind: u8, next: u8, size: u8) -> Vec<u8> {
    let units = size % 3;
    match Protocol(kind) {
        Protocol::FRAGMENT => vec![next, 0, 0, 0, 0, 0, 0, 1],
        Protocol::AH => {
            let mut header = vec![0x55; (usize::from(units) + 3) * 4];
            header[..2].copy_from_slice(&[next, units + 1]);
            header
        }
        _ => {
            let mut header = vec![0; (usize::from(units) + 1) * 8];
            header[..2].copy_from_slice(&[next, units]);
            header
        }
    }
}
