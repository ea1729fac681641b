//! The real server in the test's own process, for what cannot be seen from outside of it.

use ace_emulator::Emulator;
use ringcast::app::boot::Boot;
use ringcast::app::wire;
use ringcast::config::Sources;
use ringcast::engine::pool;
use ringcast::net::egress::Driver;
use ringcast::net::host;
use ringcast::net::listen;
use ringcast::net::listen::ListenConfig;
use ringcast::net::runtime::RuntimeDriver;
use ringcast::ring::Arena;
use ringcast::ring::ArenaConfig;
use ringcast::shard::Chore;
use ringcast::shard::Fleet;
use ringcast::shard::Launch;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

pub(crate) const SHARDS: usize = 2;

/// Whatever is awaited comes within this, or the test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    pub(crate) fleet: Fleet,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// `more` settings, beside those of every such server.
    pub(crate) fn start(
        engine: &Emulator,
        more: &[(&str, &str)],
        egress: Driver,
        runtime: RuntimeDriver,
    ) -> Self {
        let specs = format!("{},name=e0", engine.addr());
        let shards = SHARDS.to_string();
        let environment = [
            ("RINGCAST_LISTEN", "127.0.0.1:0"),
            ("RINGCAST_ENGINES", &specs),
            ("RINGCAST_SHARDS", &shards),
            ("RINGCAST_MEMORY", "64MiB"),
            ("RINGCAST_JOIN_SECONDS", "1"),
        ];
        let environment = environment.iter().chain(more);
        let environment = environment.map(|(name, value)| (name.into(), value.into())).collect();
        let boot = Boot::new(Sources { environment, ..Sources::default() }).unwrap();
        let settings = boot.settings;
        let mut config = wire::config(&settings);
        config.egress = egress;
        config.runtime = runtime;
        host::ignore_sigpipe();
        let bound = listen::bind(&ListenConfig::new(settings.listen[0], SHARDS)).unwrap();
        let address = bound.local;
        let arena = Arena::reserve(&ArenaConfig {
            budget_bytes: settings.memory_bytes,
            page_bytes: host::features().page_bytes,
            region_bytes_max: 64 << 20,
        });
        let arena = arena.unwrap();
        let listeners = bound.fds.into_iter().map(|fd| vec![fd.into()]).collect();
        let launch = Launch {
            config,
            arena,
            listeners,
            spread: false,
            boot_seed: 1,
            journal: None,
            shelf: None,
            outboxes: Vec::new(),
            mirror: None,
        };
        let fleet = Fleet::start(launch).unwrap();
        fleet.tell_pool(pool::Input::Configure(settings.engines));
        Self { fleet, address }
    }

    /// A page, whole.
    pub(crate) fn get(&self, path: &str) -> std::io::Result<String> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut reply = String::new();
        socket.read_to_string(&mut reply)?;
        Ok(reply)
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().parse().unwrap()
    }

    pub(crate) fn stop(self) {
        self.fleet.drain();
        for _ in 0..SHARDS {
            match self.fleet.chores.recv_timeout(PATIENCE) {
                Ok(Chore::Ended { clean, .. }) => assert!(clean, "a shard did not end in order"),
                other => panic!("a shard ends: {other:?}"),
            }
        }
        self.fleet.join();
    }
}
