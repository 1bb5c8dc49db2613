//! Arbitrary bytes and damaged packets: borne, bounded, never answered too much.

use mooring_packet::Offload;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::proptest;

use crate::peer::{World, segment};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_bytes_are_not_answered(packets in vec(vec(any::<u8>(), 0..120), 0..50)) {
        let mut world = World::new(4, 2, 1_500);
        for packet in packets {
            assert!(world.inject(&packet, Offload::NONE).is_empty());
        }
        assert_eq!(world.endpoint.connections(), 0);
    }

    /// Valid checksums cannot be expected of anybody: a partial one lets every byte through to TCP.
    #[test]
    fn damaged_segments_are_borne(
        edits in vec((0u32..3, 1u16..3, vec((20usize..60, any::<u8>()), 0..4), 0u64..3_000), 1..60),
    ) {
        let mut world = World::new(3, 2, 1_500);
        for (host, port, bytes, pause) in edits {
            let mut packet = segment(host, port, |segment| {
                segment.payload = b"GET / HTTP/1.1\r\n\r\n".to_vec();
            });
            for (at, byte) in bytes {
                if let Some(place) = packet.get_mut(at) {
                    *place = byte;
                }
            }
            let answers = world.inject(&packet, Offload::partial_checksum(34, 16));
            assert!(answers.len() <= 3, "{answers:?}");
            world.now += pause;
            world.endpoint.poll(world.now, &mut |_: &mut [u8], _| {});
            assert!(world.endpoint.connections() <= 3);
            assert!(world.endpoint.next_deadline().is_none_or(|due| due > world.now));
        }
    }
}
