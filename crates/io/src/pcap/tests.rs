use proptest::prelude::{any, prop, prop_assert_eq, proptest};

use super::{Captured, Error, Fault, LinkType, MAX_PACKET, Reader, Writer};

fn read(file: &[u8]) -> Result<Vec<Captured>, Error> {
    Reader::new(file)?.collect()
}

/// Where reading stops, and why.
fn refused(file: &[u8]) -> (u64, String) {
    let error = read(file).expect_err("the file is not whole");
    (error.offset, error.fault.to_string())
}

fn captured(timestamp_ns: u64, bytes: &[u8], original_len: u32) -> Captured {
    Captured { timestamp_ns, link_type: LinkType::Ethernet, bytes: bytes.to_vec(), original_len }
}

/// A classic file of one packet of three bytes, one second and two units after 1970.
fn classic(magic: [u8; 4], number: fn(u32) -> [u8; 4], half: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mut file = magic.to_vec();
    file.extend([half(2), half(4)].concat());
    file.extend([0, 0, 65_535, 1, 1, 2, 3, 60].map(number).concat());
    file.extend([7, 8, 9]);
    file
}

/// A block of a little-endian section.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes(), &len[..], body, &len].concat()
}

/// A section, and an interface of link type 101 with these options.
fn section(options: &[u8]) -> Vec<u8> {
    let header = [&0x1a2b_3c4du32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let interface = [&[101, 0, 0, 0, 0, 0, 0, 0], options].concat();
    [block(0x0a0d_0d0a, &header), block(1, &interface)].concat()
}

fn enhanced(time: u64, bytes: [u8; 4]) -> Vec<u8> {
    let time = [((time >> 32) as u32).to_le_bytes(), (time as u32).to_le_bytes()].concat();
    block(6, &[&[0; 4], &time[..], &[4, 0, 0, 0, 4, 0, 0, 0], &bytes].concat())
}

#[test]
fn classic_files_of_both_orders_and_units_are_read() {
    let little = (u32::to_le_bytes as fn(u32) -> [u8; 4], u16::to_le_bytes as fn(u16) -> [u8; 2]);
    let big = (u32::to_be_bytes as fn(u32) -> [u8; 4], u16::to_be_bytes as fn(u16) -> [u8; 2]);
    for (magic, (number, half), nanos) in [
        ([0xd4, 0xc3, 0xb2, 0xa1], little, 2_000),
        ([0xa1, 0xb2, 0xc3, 0xd4], big, 2_000),
        ([0x4d, 0x3c, 0xb2, 0xa1], little, 2),
        ([0xa1, 0xb2, 0x3c, 0x4d], big, 2),
    ] {
        let packets = read(&classic(magic, number, half)).expect("a whole file");
        assert_eq!(packets, [captured(1_000_000_000 + nanos, &[7, 8, 9], 60)]);
        assert!(packets[0].is_truncated());
    }
}

#[test]
fn the_writer_writes_these_bytes() {
    let mut writer = Writer::new(Vec::new(), "in").expect("memory");
    writer.write(0x1_0000_0002, &[1, 2, 3, 4, 5]).expect("memory");
    let file = writer.finish().expect("memory");
    let words: Vec<u32> =
        file.chunks(4).map(|word| u32::from_le_bytes(word.try_into().expect("four"))).collect();
    let application = [0x0007_0004, u32::from_le_bytes(*b"moor"), u32::from_le_bytes(*b"ing\0")];
    let section =
        [&[0x0a0d_0d0a, 44, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX], &application[..], &[0, 44]];
    let interface = [1, 40, 1, 0, 0x0002_0002, 0x6e69, 0x0001_0009, 9, 0, 40];
    let packet = [6, 40, 0, 1, 2, 5, 5, 0x0403_0201, 5, 40];
    assert_eq!(words, [&section.concat()[..], &interface, &packet].concat());
    assert_eq!(read(&file).expect("whole"), [captured(0x1_0000_0002, &[1, 2, 3, 4, 5], 5)]);
}

#[test]
fn times_have_the_unit_and_the_offset_of_their_interface() {
    let resolution = |exponent| [9, 0, 1, 0, exponent, 0, 0, 0];
    let offset = [&[14, 0, 8, 0][..], &100i64.to_le_bytes()].concat();
    for (options, nanos) in [
        (vec![], 7_000),
        (resolution(9).to_vec(), 7),
        (resolution(3).to_vec(), 7_000_000),
        (resolution(0x80 | 1).to_vec(), 3_500_000_000),
        (offset, 100_000_007_000),
    ] {
        let file = [section(&options), enhanced(7, [0x45; 4])].concat();
        let packets = read(&file).expect("a whole file");
        assert_eq!((packets[0].timestamp_ns, packets[0].link_type), (nanos, LinkType::Ip));
    }
}

#[test]
fn what_is_no_packet_is_passed_over_and_a_simple_packet_takes_the_last_time() {
    let simple = block(3, &[4, 0, 0, 0, 0x60, 1, 2, 3]);
    let comment = block(0x0bad, &[0; 64]);
    let file = [section(&[]), comment, enhanced(7, [0x45; 4]), simple].concat();
    let packets = read(&file).expect("a whole file");
    assert_eq!((packets[1].timestamp_ns, &packets[1].bytes[..]), (7_000, &[0x60, 1, 2, 3][..]));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    assert_eq!(refused(b""), (0, "neither pcap nor pcapng".to_owned()));
    assert_eq!(refused(b"PK\x03\x04 and so on"), (0, "neither pcap nor pcapng".to_owned()));
    let whole = classic([0xd4, 0xc3, 0xb2, 0xa1], u32::to_le_bytes, u16::to_le_bytes);
    let cut = "the file ends in the middle of a record".to_owned();
    assert_eq!(refused(&whole[..whole.len() - 1]), (24, cut.clone()));
    assert_eq!(refused(&whole[..30]), (24, cut.clone()));
    assert_eq!(refused(&whole[..20]), (0, cut));
    let long = [&whole[..32], &(MAX_PACKET + 1).to_le_bytes(), &whole[36..]].concat();
    assert_eq!(refused(&long), (24, "a length of 1048577 bytes is impossible here".to_owned()));
    let of_tokens = [&whole[..20], &6u32.to_le_bytes(), &whole[24..]].concat();
    assert_eq!(refused(&of_tokens).1, "link type 6 is neither Ethernet nor raw IP");

    let start = section(&[]);
    let orphan = block(6, &[&[1, 0, 0, 0][..], &[0; 16]].concat());
    let file = [&start[..], &orphan].concat();
    assert_eq!(refused(&file), (start.len() as u64, "interface 1 was not described".to_owned()));
    let mut unlike = [start.clone(), enhanced(7, [0; 4])].concat();
    *unlike.last_mut().expect("not empty") = 1;
    assert_eq!(refused(&unlike).0, start.len() as u64);
}

#[test]
fn after_an_error_there_is_no_more() {
    let whole = classic([0xd4, 0xc3, 0xb2, 0xa1], u32::to_le_bytes, u16::to_le_bytes);
    let mut reader = Reader::new(&whole[..whole.len() - 1]).expect("a header");
    assert!(matches!(reader.next(), Some(Err(Error { fault: Fault::CutOff, .. }))));
    assert!(reader.next().is_none());
}

proptest! {
    /// What is written is read; every shorter file is an error or a shorter list.
    #[test]
    fn reads_what_was_written(
        packets in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..80)), 0..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut writer = Writer::new(Vec::new(), "eth0").expect("memory");
        for (time, bytes) in &packets {
            writer.write(*time, bytes).expect("memory");
        }
        let file = writer.finish().expect("memory");
        let expected: Vec<_> =
            packets.iter().map(|(time, bytes)| captured(*time, bytes, bytes.len() as u32)).collect();
        prop_assert_eq!(read(&file).expect("a whole file"), expected.clone());
        if let Ok(fewer) = read(&file[..cut.index(file.len())]) {
            prop_assert_eq!(&fewer[..], &expected[..fewer.len()]);
        }
    }

    /// Whatever the bytes are: packets or an error.
    #[test]
    fn no_bytes_make_it_panic(
        kind in 0usize..4,
        tail in prop::collection::vec(any::<u8>(), 0..200),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let start = match kind {
            0 => Vec::new(),
            1 => classic([0x4d, 0x3c, 0xb2, 0xa1], u32::to_le_bytes, u16::to_le_bytes),
            2 => section(&[9, 0, 1, 0, 6, 0, 0, 0]),
            _ => [section(&[]), enhanced(9, [1; 4]), block(2, &[0; 24])].concat(),
        };
        let mut file = [start, tail].concat();
        for (at, byte) in flips {
            if !file.is_empty() {
                let at = at.index(file.len());
                file[at] = byte;
            }
        }
        if let Ok(packets) = read(&file) {
            let held: usize = packets.iter().map(|packet| packet.bytes.len()).sum();
            prop_assert_eq!(held.min(file.len()), held);
        }
    }
}
