//! Listeners and accepting, over real loopback sockets.

use std::future::Future;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::Poll;

use rustix::net::AddressFamily;
use rustix::net::SocketType;
use rustix::net::sockopt;

use super::Acceptor;
use super::Again;
use super::BindError;
use super::ListenConfig;
use super::Listener;
use super::bind;
use crate::net::host;
use crate::net::runtime;
use crate::net::testing::on_both_runtimes;

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[test]
fn every_shard_listens_on_the_same_port() {
    let config = ListenConfig::new(any_port(), 4);
    let listeners = bind(&config).unwrap();
    assert_eq!(listeners.fds.len(), 4);
    assert!(listeners.notes.is_empty());
    assert_ne!(listeners.local.port(), 0);
    let first = Listener::from(rustix::io::dup(&listeners.fds[0]).unwrap());
    let again = Again::of(&first).unwrap().listen().unwrap();
    assert!(!Again::of(&again).unwrap().listen().unwrap().is_inherited);
    let _client = TcpStream::connect(listeners.local).unwrap();
}

#[test]
fn a_second_process_on_the_port_is_told_which_one() {
    let first = bind(&ListenConfig::new(any_port(), 2)).unwrap();
    let second = bind(&ListenConfig::new(first.local, 2)).unwrap_err();
    assert!(matches!(second, BindError::InUse { .. }));
    let port = first.local.port();
    let text = format!("127.0.0.1:{port} is in use: another program listens on port {port}");
    assert_eq!(second.to_string(), text);
    // The other way round: somebody without SO_REUSEPORT was there first.
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let third = bind(&ListenConfig::new(foreign.local_addr().unwrap(), 1)).unwrap_err();
    assert!(matches!(third, BindError::InUse { .. }));
    // On the dual-stack wildcard as well.
    let wildcard = SocketAddr::from(([0u16; 8], foreign.local_addr().unwrap().port()));
    assert!(matches!(bind(&ListenConfig::new(wildcard, 1)), Err(BindError::InUse { .. })));
}

#[test]
fn other_failures_name_the_address() {
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
    let error = bind(&ListenConfig::new(elsewhere, 1)).unwrap_err();
    assert_eq!(error.to_string(), "192.0.2.1:0 is not an address of this host");
}

#[test]
fn viewers_of_this_host_are_not_paced_and_others_are_as_the_system_says() {
    let paces = host::features().congestion.iter().any(|name| name == "bbr");
    on_both_runtimes(move || async move {
        let mut listeners = bind(&ListenConfig::new(any_port(), 1)).unwrap();
        let listener = listeners.fds.remove(0);
        if paces {
            sockopt::set_tcp_congestion(&listener, "bbr").unwrap();
        }
        let acceptor = Acceptor::new(listener).unwrap();
        let port = listeners.local.port();
        let near = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let far = connect_from("127.0.0.2", port);
        let mut accepted = Vec::new();
        while accepted.len() < 2 {
            acceptor.accept_batch(&mut accepted).await.unwrap();
        }
        for one in accepted {
            let is_far = one.peer.ip() != one.local.ip();
            let name = sockopt::tcp_congestion(&one.fd).unwrap();
            assert_eq!(name == "bbr", is_far && paces, "{name} for {}", one.peer);
        }
        drop((near, far));
    });
}

/// From another address of the loopback: to us it is another host.
fn connect_from(address: &str, port: u16) -> OwnedFd {
    let fd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let from: SocketAddr = format!("{address}:0").parse().unwrap();
    rustix::net::bind(&fd, &from).unwrap();
    rustix::net::connect(&fd, &SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    fd
}

#[test]
fn accepted_sockets_are_ready_for_a_viewer() {
    on_both_runtimes(|| async {
        let mut listeners = bind(&ListenConfig::new("[::]:0".parse().unwrap(), 1)).unwrap();
        let acceptor = Acceptor::new(listeners.fds.remove(0)).unwrap();
        let port = listeners.local.port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut accepted = Vec::new();
        assert_eq!(acceptor.accept_batch(&mut accepted).await.unwrap().accepted, 1);
        let viewer = &accepted[0];
        // IPv4 through the dual stack looks like IPv4.
        assert_eq!(viewer.peer, client.local_addr().unwrap());
        assert_eq!(viewer.local, SocketAddr::from(([127, 0, 0, 1], port)));
        let wmem_max = usize::try_from(crate::net::host::features().wmem_max_bytes).unwrap();
        let buffer = sockopt::socket_send_buffer_size(&viewer.fd).unwrap();
        assert_eq!(buffer, 2 * wmem_max.min(512 * 1024));
        assert!(sockopt::tcp_nodelay(&viewer.fd).unwrap());
        assert!(sockopt::socket_keepalive(&viewer.fd).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&viewer.fd).unwrap().as_secs(), 10);
        assert_eq!(sockopt::tcp_keepintvl(&viewer.fd).unwrap().as_secs(), 5);
        assert_eq!(sockopt::tcp_keepcnt(&viewer.fd).unwrap(), 2);
        assert_eq!(sockopt::tcp_user_timeout(&viewer.fd).unwrap(), 19_000);
        let flags = rustix::fs::fcntl_getfl(&viewer.fd).unwrap();
        assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
        let flags = rustix::io::fcntl_getfd(&viewer.fd).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    });
}

#[test]
fn a_storm_is_accepted_in_batches_and_none_is_lost() {
    on_both_runtimes(|| async {
        let mut listeners = bind(&ListenConfig::new(any_port(), 1)).unwrap();
        let local = listeners.local;
        let acceptor = Acceptor::new(listeners.fds.remove(0)).unwrap();
        let clients = std::thread::spawn(move || {
            let connect = |i: u32| {
                let mut client = TcpStream::connect(local).unwrap();
                client.write_all(&i.to_ne_bytes()).unwrap();
                client
            };
            (0..500).map(connect).collect::<Vec<_>>()
        });
        let mut accepted = Vec::new();
        while accepted.len() < 500 {
            let before = accepted.len();
            let batch = acceptor.accept_batch(&mut accepted).await.unwrap();
            assert_eq!(batch.accepted, accepted.len() - before);
            assert!(batch.accepted <= 64 && batch.shed == 0);
        }
        let clients = clients.join().unwrap();
        let mut seen = [false; 500];
        for viewer in accepted {
            let mut stream = TcpStream::from(viewer.fd);
            stream.set_nonblocking(false).unwrap();
            let mut id = [0; 4];
            stream.read_exact(&mut id).unwrap();
            seen[u32::from_ne_bytes(id) as usize] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
        drop(clients);
    });
}

/// A storm of connections that are over when they are taken: none of them is anybody's, and all that
/// wait have their turn between two batches.
#[test]
fn connections_that_were_reset_count_and_everybody_has_a_turn_between_batches() {
    on_both_runtimes(|| async {
        let mut listeners = bind(&ListenConfig::new(any_port(), 1)).unwrap();
        let local = listeners.local;
        let acceptor = Acceptor::new(listeners.fds.remove(0)).unwrap();
        for _ in 0..300 {
            let client =
                rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            rustix::net::connect(&client, &local).unwrap();
            sockopt::set_socket_linger(&client, Some(std::time::Duration::ZERO)).unwrap();
        }
        let turns = std::rc::Rc::new(std::cell::Cell::new(0));
        let counted = turns.clone();
        runtime::spawn(async move {
            for turn in 1..=1_000 {
                counted.set(turn);
                runtime::yield_now().await;
            }
        });
        let (mut out, mut seen, mut batches) = (Vec::new(), 0, 0);
        while seen < 300 {
            let batch = acceptor.accept_batch(&mut out).await.unwrap();
            let accepts = batch.accepted + batch.shed + batch.gone;
            assert!(accepts <= 64, "{batch:?}");
            seen += accepts;
            assert!(turns.get() >= batches, "{} turns in {batches} batches", turns.get());
            batches += 1;
        }
        assert!(out.is_empty(), "they were reset");
    });
}

#[test]
fn a_dropped_wait_loses_no_connection() {
    on_both_runtimes(|| async {
        let mut listeners = bind(&ListenConfig::new(any_port(), 1)).unwrap();
        let acceptor = Acceptor::new(listeners.fds.remove(0)).unwrap();
        let mut accepted = Vec::new();
        for round in 1..=95 {
            {
                let mut out = Vec::new();
                let mut wait = pin!(acceptor.accept_batch(&mut out));
                poll_fn(|context| {
                    assert!(wait.as_mut().poll(context).is_pending());
                    Poll::Ready(())
                })
                .await;
                // The connection arrives while the wait is pending; then the wait is dropped.
                let _client = TcpStream::connect(listeners.local).unwrap();
            }
            acceptor.accept_batch(&mut accepted).await.unwrap();
            assert_eq!(accepted.len(), round);
        }
    });
}

#[test]
fn shutting_down_ends_the_wait_and_refuses_the_rest() {
    on_both_runtimes(|| async {
        let mut listeners = bind(&ListenConfig::new(any_port(), 1)).unwrap();
        let acceptor = Acceptor::new(listeners.fds.remove(0)).unwrap();
        let stopper = acceptor.stopper();
        runtime::spawn(async move { stopper.stop() });
        let error = acceptor.accept_batch(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(TcpStream::connect(listeners.local).is_err());
    });
}

/// The limit of open files belongs to the process: this test runs in one of its own.
#[test]
fn out_of_files_connections_are_refused_and_nothing_spins() {
    const CHILD: &str = "RINGCAST_TEST_OUT_OF_FILES";
    if std::env::var_os(CHILD).is_none() {
        let name = "net::listen::tests::out_of_files_connections_are_refused_and_nothing_spins";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", name]).env(CHILD, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    on_both_runtimes(|| async {
        let mut listeners = bind(&ListenConfig::new(any_port(), 1)).unwrap();
        let acceptor = Acceptor::new(listeners.fds.remove(0)).unwrap();
        let mut clients: Vec<TcpStream> =
            (0..5).map(|_| TcpStream::connect(listeners.local).unwrap()).collect();
        let mut hoard = Vec::new();
        let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let few = rustix::process::Rlimit { current: Some(64), maximum: before.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
        while let Ok(fd) = crate::net::bell::eventfd() {
            hoard.push(fd);
        }
        hoard.truncate(hoard.len() - 2);
        let mut accepted = Vec::new();
        let batch = acceptor.accept_batch(&mut accepted).await.unwrap();
        assert_eq!((batch.accepted, batch.shed), (2, 3));
        for refused in &mut clients[2..] {
            assert!(matches!(refused.read(&mut [0; 1]), Ok(0) | Err(_)));
        }
        // Nobody knocks any more: the wait is a wait again.
        let mut wait = pin!(acceptor.accept_batch(&mut accepted));
        for _ in 0..3 {
            runtime::sleep(std::time::Duration::from_millis(1)).await;
            poll_fn(|context| {
                assert!(wait.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        rustix::process::setrlimit(rustix::process::Resource::Nofile, before).unwrap();
    });
}
