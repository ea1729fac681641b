//! Slots and drivers: their limits, their ends, what they leave behind.

use std::io::ErrorKind;
use std::io::Read;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::atomic::Ordering::SeqCst;

use super::Driver;
use super::Egress;
use super::EgressConfig;
use super::Event;
use super::Rig;
use super::Via;
use super::on_every_pair;
use crate::net::egress::Core;
use crate::net::egress::Drive;
use crate::net::egress::EgressStats;
use crate::net::egress::lent::Lent;
use crate::net::egress::slots::Slots;
use crate::net::egress::uring::Uring;
use crate::net::host;
use crate::net::runtime::run_shard;
use crate::net::testing::RUNTIMES;
use crate::net::testing::forbid;
use crate::net::testing::pair;

#[test]
fn a_slot_is_never_mistaken_for_its_successor() {
    on_every_pair(|mut rig| async move {
        let (first, _peer) = rig.add(1);
        rig.egress.close(first);
        // Nobody has been told: its index is not free yet.
        let (other, _other_peer) = rig.add(2);
        assert_ne!(other.index(), first.index());
        rig.closed(first).await;
        let (second, _peer) = rig.add(3);
        assert_eq!(second.index(), first.index());
        assert_ne!(second, first);
        rig.egress.close(first);
        rig.egress.abort(first);
        let piece = rig.piece(0..10);
        let rigged = AssertUnwindSafe(&mut rig);
        assert!(catch_unwind(move || { rigged }.egress.send(first, piece, Via::Copy)).is_err());
        assert_eq!(rig.egress.send_inline(second, b"still here").unwrap(), 10);
        for slot in [second, other] {
            rig.egress.close(slot);
            rig.closed(slot).await;
        }
        rig.finish();
    });
}

#[test]
fn a_full_egress_refuses_and_recovers() {
    for driver in [Driver::Uring, Driver::Epoll] {
        let mut egress =
            Egress::<super::Piece>::new(&EgressConfig { driver, slots_max: 1, buffers_max: 0 })
                .unwrap();
        let (fd, _peer) = pair();
        let slot = egress.add(fd, 1).unwrap();
        let (fd, mut refused) = pair();
        let error = egress.add(fd, 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
        assert_eq!(error.to_string(), "all 1 slots are taken");
        assert_eq!(refused.read(&mut [0; 1]).unwrap(), 0, "the refused socket is closed");
        egress.close(slot);
        while !egress.is_empty() {
            egress.submit().unwrap();
            egress.reap(&mut Vec::new());
        }
        let (fd, _peer) = pair();
        egress.add(fd, 3).unwrap();
        assert!(egress.abandon().is_empty());
    }
}

#[test]
fn auto_takes_the_ring_where_there_is_one() {
    let config = EgressConfig { driver: Driver::Auto, slots_max: 1, buffers_max: 0 };
    let egress = Egress::<super::Piece>::new(&config).unwrap();
    let is_uring = egress.driver() == Driver::Uring;
    assert_eq!(is_uring, host::features().uring.setup.is_ok());
}

#[test]
fn auto_does_without_the_ring_where_a_container_forbids_it() {
    let driver_without = |calls: &'static [libc::c_long]| {
        let thread = std::thread::spawn(move || {
            forbid(calls);
            let config = EgressConfig { driver: Driver::Auto, slots_max: 1, buffers_max: 0 };
            Egress::<super::Piece>::new(&config).unwrap().driver()
        });
        thread.join().unwrap()
    };
    assert_eq!(driver_without(&[libc::SYS_io_uring_setup]), Driver::Epoll);
    // A ring that cannot wake us is no use.
    assert_eq!(driver_without(&[libc::SYS_io_uring_register]), Driver::Epoll);
}

#[test]
fn live_sockets_are_not_dropped_by_accident() {
    on_every_pair(|mut rig| async move {
        let (_slot, mut peer) = rig.add(1);
        let Rig { egress, .. } = rig;
        let dropped = catch_unwind(AssertUnwindSafe(move || drop(egress)));
        assert_eq!(dropped.is_err(), cfg!(debug_assertions));
        drop(peer.read(&mut [0; 1]));
    });
}

#[test]
fn an_abandoned_egress_resets_its_peers_and_names_what_was_lent() {
    on_every_pair(|mut rig| async move {
        let (slot, mut stuck) = rig.add(1);
        let filled = rig.fill(slot).await;
        assert!(filled > 0);
        let (slot, mut idle) = rig.add(2);
        rig.egress.submit().unwrap();
        let piece = rig.piece(0..10);
        rig.egress.send(slot, piece, Via::Copy);
        let Rig { egress, alive, .. } = rig;
        assert_eq!(egress.len(), 2);
        let lent = egress.abandon();
        assert_eq!(lent.len(), 1);
        assert_eq!(alive.load(SeqCst), 1);
        for peer in [&mut stuck, &mut idle] {
            let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}

/// A ring so small that both of its queues run over.
#[test]
fn a_crowd_overruns_both_queues_and_nothing_is_lost() {
    const SOCKETS: u64 = 200;
    for runtime in RUNTIMES {
        let test = || async {
            let uring = Uring::with_entries(4, 8, 0).unwrap();
            let mut rig = Rig::with(Egress {
                drive: Drive::Uring(Box::new(uring)),
                core: Core {
                    slots: Slots::new(4096),
                    lent: Lent::new(),
                    ready: Vec::new(),
                    stats: EgressStats::default(),
                },
                _one_thread: std::marker::PhantomData,
            });
            let (slots, peers): (Vec<_>, Vec<_>) = (0..SOCKETS).map(|key| rig.add(key)).unzip();
            for &slot in &slots {
                let piece = rig.piece(0..50);
                rig.egress.send(slot, piece, Via::Copy);
                rig.egress.want_writable(slot);
            }
            let (mut sends, mut writables) = (0, 0);
            while sends < SOCKETS || writables < SOCKETS {
                for event in rig.turn().await {
                    match event {
                        Event::Writable { .. } => writables += 1,
                        event => sends += u64::from(rig.sent(event).unwrap() == 50),
                    }
                }
            }
            assert!(rig.egress.stats().overflows > 0);
            drop(peers);
            let mut hangups = 0;
            while hangups < SOCKETS {
                hangups += rig.turn().await.len() as u64;
            }
            slots.iter().for_each(|&slot| rig.egress.close(slot));
            while !rig.egress.is_empty() {
                rig.turn().await;
            }
            rig.finish();
        };
        std::thread::spawn(move || run_shard(runtime, test).unwrap()).join().unwrap();
    }
}

/// Descriptors are counted for the whole process: this test runs in one of its own.
#[test]
fn every_descriptor_is_given_back() {
    const CHILD: &str = "RINGCAST_TEST_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        let name = "net::egress::tests::life::every_descriptor_is_given_back";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", name]).env(CHILD, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let life = || {
        on_every_pair(|mut rig| async move {
            for round in 0..50 {
                let (slot, peer) = rig.add(round);
                let piece = rig.piece(0..1000);
                rig.egress.send(slot, piece, Via::Copy);
                rig.turn_taken().await;
                match round % 3 {
                    0 => rig.egress.abort(slot),
                    1 => rig.egress.close(slot),
                    _ => {
                        drop(peer);
                        rig.turn_taken().await;
                        rig.egress.close(slot);
                    }
                }
                while !rig.egress.is_empty() {
                    rig.turn_taken().await;
                }
            }
            rig.finish();
        });
    };
    life();
    let before = host::open_files().unwrap();
    life();
    assert_eq!(host::open_files().unwrap(), before);
}
