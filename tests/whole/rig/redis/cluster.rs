//! Three masters that share the slots, put together by hand.

use super::Redis;
use super::View;
use crate::rig::eventually;

const NODES: u16 = 3;
const SLOTS: u16 = 16_384;

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let nodes: Vec<Redis> = (0..NODES).map(|_| node()).collect();
        let mut clients: Vec<_> = nodes.iter().map(Redis::client).collect();
        for (n, client) in (0..NODES).zip(&mut clients) {
            client.call(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            let first = SLOTS / NODES * n;
            let last = if n + 1 == NODES { SLOTS - 1 } else { SLOTS / NODES * (n + 1) - 1 };
            client.call(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        }
        for node in &nodes[1..] {
            let (port, bus) = (node.port.to_string(), bus_of(node.port).to_string());
            clients[0].call(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        for client in &mut clients {
            eventually("the cluster to agree", || {
                let info = client.call(&["CLUSTER", "INFO"]).text()?;
                let agreed = ["cluster_state:ok", "cluster_known_nodes:3", "cluster_size:3"];
                agreed.iter().all(|line| info.contains(line)).then_some(())
            });
        }
        Self { nodes }
    }

    /// Of any node; the others are found.
    pub(crate) fn url(&self) -> String {
        self.nodes[0].url()
    }

    pub(crate) fn view(&self) -> View {
        View::of_cluster(self.nodes.iter().map(Redis::client).collect())
    }
}

fn node() -> Redis {
    Redis::with(&["cluster-enabled yes", "cluster-node-timeout 1000"])
}

/// Where the nodes talk among themselves, unless they are told otherwise.
fn bus_of(port: u16) -> u16 {
    port + 10_000
}
