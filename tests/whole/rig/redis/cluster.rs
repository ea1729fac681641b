//! Three masters that share the slots, put together by hand; the first one may have a replica.

use super::Client;
use super::Redis;
use super::Reply;
use super::View;
use super::info;
use crate::rig::eventually;

const NODES: u16 = 3;
const SLOTS: u16 = 16_384;

pub(crate) struct Cluster {
    /// The masters, or what they were.
    pub(crate) nodes: Vec<Redis>,
    replica: Option<Redis>,
}

impl Cluster {
    /// Below it a slot is the first master's.
    pub(crate) const FIRST_SLOTS: i64 = (SLOTS / NODES) as i64;

    pub(crate) fn start() -> Self {
        Self::of(1_000)
    }

    fn of(timeout_ms: u32) -> Self {
        let nodes: Vec<Redis> = (0..NODES).map(|_| node(timeout_ms)).collect();
        let mut clients: Vec<_> = nodes.iter().map(Redis::client).collect();
        for (n, client) in (0..NODES).zip(&mut clients) {
            client.call(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            let first = SLOTS / NODES * n;
            let last = if n + 1 == NODES { SLOTS - 1 } else { SLOTS / NODES * (n + 1) - 1 };
            add_slots(client, first, last);
        }
        for node in &nodes[1..] {
            meet(&mut clients[0], node);
        }
        for client in &mut clients {
            await_agreement(client, NODES);
        }
        Self { nodes, replica: None }
    }

    /// The first master has one that takes its place.
    pub(crate) fn with_a_replica() -> Self {
        /// On a busy machine nobody is to be taken for dead who lives.
        const TIMEOUT_MS: u32 = 1_500;
        let mut cluster = Self::of(TIMEOUT_MS);
        let replica = node(TIMEOUT_MS);
        meet(&mut cluster.nodes[0].client(), &replica);
        let mut client = replica.client();
        await_agreement(&mut client, NODES + 1);
        let master = cluster.nodes[0].client().call(&["CLUSTER", "MYID"]).text().expect("a name");
        client.call(&["CLUSTER", "REPLICATE", &master]);
        eventually("the replica to follow", || {
            let link = info(&mut client, "replication", "master_link_status")?;
            (link == "up").then_some(())
        });
        // Those who elect it have heard of it.
        for node in &cluster.nodes {
            let mut client = node.client();
            await_agreement(&mut client, NODES + 1);
            eventually("everybody to know whose replica it is", || {
                let nodes = client.call(&["CLUSTER", "NODES"]).text()?;
                let mut lines = nodes.lines();
                lines.find(|line| line.contains(&format!("slave {master}")))?;
                Some(())
            });
        }
        cluster.replica = Some(replica);
        cluster
    }

    /// Kills the first master, if it lives, and waits until its replica has its place.
    pub(crate) fn fail_over(&mut self) {
        self.nodes[0].kill();
        let replica = self.replica.take().expect("one that fails over");
        let mut client = replica.client();
        eventually("the replica to become master", || {
            (info(&mut client, "replication", "role")? == "master").then_some(())
        });
        self.nodes[0] = replica;
        for node in &self.nodes {
            await_agreement(&mut node.client(), NODES + 1);
        }
    }

    /// Of any node; the others are found.
    pub(crate) fn url(&self) -> String {
        self.nodes[0].url()
    }

    /// Of all masters, whichever of them lives.
    pub(crate) fn url_of_all(&self) -> String {
        let places: Vec<String> =
            self.nodes.iter().map(|node| node.address().to_string()).collect();
        format!("redis+cluster://{}", places.join(","))
    }

    pub(crate) fn view(&self) -> View {
        View::of_cluster(self.nodes.iter().map(Redis::client).collect())
    }
}

/// All of them take part, and have all slots.
fn await_agreement(client: &mut Client, known: u16) {
    eventually("the cluster to agree", || {
        let info = client.call(&["CLUSTER", "INFO"]).text()?;
        let known = format!("cluster_known_nodes:{known}");
        let agreed = ["cluster_state:ok", &known, "cluster_size:3"];
        agreed.iter().all(|line| info.contains(line)).then_some(())
    });
}

fn meet(client: &mut Client, node: &Redis) {
    let (port, bus) = (node.port.to_string(), bus_of(node.port).to_string());
    client.call(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
}

fn add_slots(client: &mut Client, first: u16, last: u16) {
    let range = ["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()];
    let reply = client.ask(&range).expect("a Redis that runs");
    if matches!(reply, Reply::Error(_)) {
        // Redis 6 wants each by its name.
        let slots: Vec<String> = (first..=last).map(|slot| slot.to_string()).collect();
        let mut words = vec!["CLUSTER", "ADDSLOTS"];
        words.extend(slots.iter().map(String::as_str));
        client.call(&words);
    }
}

fn node(timeout_ms: u32) -> Redis {
    Redis::with(&[
        "cluster-enabled yes",
        &format!("cluster-node-timeout {timeout_ms}"),
        "repl-diskless-sync-delay 0",
        "cluster-replica-validity-factor 0",
    ])
}

/// Where the nodes talk among themselves, unless they are told otherwise.
fn bus_of(port: u16) -> u16 {
    port + 10_000
}
