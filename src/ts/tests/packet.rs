//! One packet: every field, the ones that are not there, and the packets of our own.

use proptest::prelude::*;

use crate::ts::packet::*;
use crate::ts::tests::generator::Generator;
use crate::ts::tests::generator::Start;

#[test]
fn reads_every_field() {
    let mut generator = Generator::default();
    let pcr = 0x1_2345_6789 * 300 + 299;
    let start = Start { rai: true, pcr: Some(pcr), discontinuity: true, scrambled: false };
    generator.set_next_cc(0x1ABC, 9);
    generator.pes_bytes(0x1ABC, start, &[0, 0, 1, 0xE0]);
    let packet = generator.packets().iter().next().unwrap();
    assert_eq!(packet.pid(), 0x1ABC);
    assert_eq!(packet.cc(), 9);
    assert!(packet.pusi() && packet.has_payload() && packet.has_adaptation());
    assert!(packet.discontinuity() && packet.random_access());
    assert!(!packet.tei());
    assert_eq!(packet.scrambling(), 0);
    assert_eq!(packet.pcr(), Some(pcr));
    assert_eq!(packet.payload(), [0, 0, 1, 0xE0]);
}

#[test]
fn nonsense_lengths_read_as_absent() {
    let mut bytes = [0xFF; PACKET_BYTES];
    bytes[..5].copy_from_slice(&[0x47, 0x01, 0x00, 0x30, 184]);
    let packet = Packet::new(&bytes).unwrap();
    assert!(packet.adaptation().is_empty());
    assert!(packet.payload().is_empty());
    bytes[4] = 0;
    let packet = Packet::new(&bytes).unwrap();
    assert!(packet.adaptation().is_empty());
    assert_eq!(packet.payload().len(), 183);
    assert_eq!(packet.pcr(), None);
    // A clock that is announced in a field too short for it.
    bytes[4] = 3;
    bytes[5] = 0x10;
    assert_eq!(Packet::new(&bytes).unwrap().pcr(), None);
}

#[test]
fn own_packets_are_what_the_standard_says() {
    let bytes = null_packet();
    let null = Packet::new(&bytes).unwrap();
    assert_eq!((null.pid(), null.has_payload(), null.has_adaptation()), (PID_NULL, true, false));
    let bytes = mark(0x0123, 0x1F);
    let mark = Packet::new(&bytes).unwrap();
    assert_eq!((mark.pid(), mark.cc()), (0x0123, 0x0F));
    assert!(mark.discontinuity() && !mark.has_payload() && !mark.random_access());
    assert_eq!(mark.adaptation().len(), 183);
    assert!(mark.adaptation()[1..].iter().all(|byte| *byte == 0xFF));
}

#[test]
fn packets_are_evidence() {
    let two = [NULL_PACKET, NULL_PACKET].concat();
    let packets = Packets::new_checked(&two).unwrap();
    assert_eq!(packets.len(), 2);
    let (left, right) = packets.split_at(1);
    assert_eq!((left.len(), right.len()), (1, 1));
    assert!(Packets::new_checked(&two[1..]).is_none());
    assert!(Packets::new_checked(&two[..375]).is_none());
    let mut broken = two.clone();
    broken[188] = 0x48;
    assert!(Packets::new_checked(&broken).is_none());
    assert_eq!(Packets::prefix_of(&broken).len(), 1);
    assert!(Packets::new_checked(&[]).unwrap().is_empty());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), PACKET_BYTES)) {
        let mut bytes: [u8; PACKET_BYTES] = bytes.try_into().unwrap();
        bytes[0] = SYNC_BYTE;
        let packet = Packet::new(&bytes).unwrap();
        prop_assert!(packet.pid() <= PID_NULL);
        prop_assert!(packet.adaptation().len() + packet.payload().len() <= 184);
        prop_assert!(packet.pcr().is_none_or(|pcr| pcr < PCR_WRAP));
    }
}
