//! The writer's look at what it has written itself, to recognise it when it comes again.
//!
//! It sees its own bytes before anybody else does, and only those that are not retired.

#![expect(unsafe_code, reason = "reads slabs that this writer appended to")]

use super::PACKET;
use super::Writer;
use crate::base::sizes::PACKET_BYTES;
use crate::ts::packet::Packet;
use crate::ts::splice::Past;

impl Writer {
    fn own_packet(&self, offset: u64) -> Option<&[u8; PACKET_BYTES]> {
        let is_there = self.tail <= offset && offset < self.written;
        if !is_there || !offset.is_multiple_of(PACKET) || self.closing {
            return None;
        }
        let slab = self.live.get((offset / self.slab_bytes - self.first_live) as usize)?.number();
        let at = (offset % self.slab_bytes) as usize;
        self.arena.note_read(slab, at, PACKET_BYTES);
        let packet = self.arena.pointer(slab, at).cast_const().cast::<[u8; PACKET_BYTES]>();
        // SAFETY: the slab is live in this writer, which owns it, and slabs are whole packets: the
        // range lies within it and below `written`, so its bytes were written, and are not written
        // again in this life. To retire or to append takes `&mut self`, which the reference does not
        // outlive; what others do meanwhile is to read.
        Some(unsafe { &*packet })
    }
}

impl Past for Writer {
    fn packet(&self, offset: u64) -> Option<Packet<'_>> {
        self.own_packet(offset).and_then(Packet::new)
    }

    fn end(&self) -> u64 {
        self.written
    }
}
