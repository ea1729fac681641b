//! A master, a replica, and one Sentinel that decides alone and at once.

use super::Client;
use super::Redis;
use super::info;
use super::program;
use crate::rig::eventually;

pub(crate) struct Sentinel {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    pub(crate) sentinel: Redis,
}

impl Sentinel {
    pub(crate) const NAME: &'static str = "tv";

    pub(crate) fn start() -> Self {
        let master = Redis::with(&["repl-diskless-sync-delay 0"]);
        let replica = Redis::with(&[&format!("replicaof 127.0.0.1 {}", master.port)]);
        let mut client = replica.client();
        eventually("the replica to follow", || {
            let link = info(&mut client, "replication", "master_link_status")?;
            (link == "up").then_some(())
        });
        let sentinel = Self::watch(master.port, &[]);
        let mut client = sentinel.client();
        // Not only by name: one that was not asked yet is not chosen.
        eventually("Sentinel to know that the replica is good", || {
            let known = client.call(&["SENTINEL", "REPLICAS", Self::NAME]).list();
            let fields = known.into_iter().next()?.fields();
            (fields.get("master-link-status")? == "ok").then_some(())
        });
        Self { master, replica, sentinel }
    }

    /// Kills the master, if it lives, and waits until the replica has its place.
    pub(crate) fn fail_over(&mut self) {
        self.master.kill();
        eventually("the replica to become master", || {
            // A new one each time: Sentinel throws everybody out whom it makes a master for.
            let mut client = self.replica.client();
            (info(&mut client, "replication", "role")? == "master").then_some(())
        });
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://{}/{}", self.sentinel.address(), Self::NAME)
    }

    /// Of the one that takes writes now.
    pub(crate) fn client_of_master(&self) -> Client {
        let mut client = self.replica.client();
        let role = info(&mut client, "replication", "role");
        if role.as_deref() == Some("master") { client } else { self.master.client() }
    }

    /// One alone. It writes to its configuration, as a Sentinel does.
    pub(crate) fn watch(port: u16, lines: &[&str]) -> Redis {
        let name = Self::NAME;
        let monitor = format!("sentinel monitor {name} 127.0.0.1 {port} 1");
        let patience = format!("sentinel down-after-milliseconds {name} 500");
        let again = format!("sentinel failover-timeout {name} 1000");
        let mut all = lines.to_vec();
        all.extend([monitor.as_str(), &patience, &again]);
        let sentinel = Redis::of(&[&program(), "--sentinel"], &all);
        let mut client = sentinel.client();
        // As often as it can: a test waits for it. Redis 6 does not know how, and takes longer.
        let _ = client.ask(&["SENTINEL", "DEBUG", "info-period", "200", "ping-period", "100"]);
        let _ = client.ask(&["SENTINEL", "DEBUG", "election-timeout", "500"]);
        sentinel
    }
}
