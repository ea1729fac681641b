//! One rig: two namespaces, the veth between them, and what of it lies in `/run/nicsink/NAME`.
//!
//! The addresses are the same in every rig, since nothing outside its namespaces sees them. The
//! file `port` is written last: a rig that has it is whole.

use crate::host;
use crate::host::inside;
use crate::host::run;
use crate::program;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// The server's second address: a client that connects to it really gets everything.
const PLAIN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);

const SERVER_MAC: &str = "02:00:00:09:00:01";
const CLIENT_MAC: &str = "02:00:00:09:00:02";

/// Beyond `NAMEsrv` there are device and file names with limits.
const NAME_BYTES_MAX: usize = 24;

/// In both namespaces. An acknowledgement of a tick carries no options, so none are negotiated but
/// the window scale; metrics of one run must not steer the next. A burst of thousands of connects
/// fits the queues, for a SYN cookie without timestamps loses the scale.
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/tcp_timestamps", "0"),
    ("ipv4/tcp_sack", "0"),
    ("ipv4/tcp_ecn", "0"),
    ("ipv4/tcp_no_metrics_save", "1"),
    ("ipv4/tcp_syncookies", "0"),
    ("ipv4/tcp_max_syn_backlog", "65535"),
    ("core/somaxconn", "65535"),
    ("ipv4/ip_local_port_range", "10000 65000"),
    ("ipv4/conf/all/rp_filter", "0"),
];

pub(crate) struct Rig {
    name: String,
}

impl Rig {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The server's namespace.
    pub(crate) fn server(&self) -> String {
        format!("{}srv", self.name)
    }

    /// The clients' namespace.
    pub(crate) fn client(&self) -> String {
        format!("{}cli", self.name)
    }

    fn folder(&self) -> String {
        format!("/run/nicsink/{}", self.name)
    }

    /// Where its BPF file system is mounted.
    pub(crate) fn pins(&self) -> String {
        format!("{}/bpf", self.folder())
    }

    /// The port that it was made for, when it is whole.
    pub(crate) fn port(&self) -> Option<u16> {
        let port = fs::read_to_string(format!("{}/port", self.folder())).ok()?;
        let stands = [self.server(), self.client()]
            .iter()
            .all(|namespace| Path::new("/run/netns").join(namespace).exists());
        port.trim().parse().ok().filter(|_| stands)
    }

    /// The line that says where things are.
    pub(crate) fn up(&self, port: u16) -> Result<String, String> {
        host::check()?;
        if self.port() != Some(port) {
            self.down()?;
            if let Err(why) = self.make(port) {
                // What the making left is half a rig; why it failed is what counts.
                let _ = self.down();
                return Err(why);
            }
        }
        Ok(format!("server={SERVER} client={CLIENT} plain={PLAIN}"))
    }

    fn make(&self, port: u16) -> Result<(), String> {
        let (server, client) = (self.server(), self.client());
        let pins = self.pins();
        fs::create_dir_all(&pins).map_err(|error| format!("{pins}: {error}"))?;
        run(&format!("ip netns add {server}"))?;
        run(&format!("ip netns add {client}"))?;
        // Before the devices: IPv6 would greet its neighbours.
        for namespace in [&server, &client] {
            inside(namespace, settings)?;
        }
        run(&format!(
            "ip link add vs0 address {SERVER_MAC} netns {server} type veth \
             peer name vc0 address {CLIENT_MAC} netns {client}"
        ))?;
        for address in [SERVER, PLAIN] {
            run(&format!("ip -n {server} address add {address}/24 dev vs0 noprefixroute"))?;
        }
        run(&format!("ip -n {client} address add {CLIENT}/24 dev vc0"))?;
        for (namespace, device) in [(&server, "vs0"), (&client, "vc0")] {
            run(&format!("ip -n {namespace} link set lo up"))?;
            run(&format!("ip -n {namespace} link set {device} up"))?;
        }
        // Cubic does not pace. As the system's default it would need a change outside the namespace.
        run(&format!(
            "ip -n {server} route add 10.9.0.0/24 dev vs0 src {SERVER} congctl lock cubic"
        ))
        .map_err(|why| format!("{why} (no cubic congestion control? modprobe tcp_cubic)"))?;
        run(&format!("ip -n {server} neighbour add {CLIENT} lladdr {CLIENT_MAC} dev vs0"))?;
        for address in [SERVER, PLAIN] {
            run(&format!("ip -n {client} neighbour add {address} lladdr {SERVER_MAC} dev vc0"))?;
        }
        program::load(self, port)?;
        let file = format!("{}/port", self.folder());
        fs::write(&file, port.to_string()).map_err(|error| format!("{file}: {error}"))
    }

    /// Whatever there is of it goes. Processes in the namespaces live on, without a network.
    pub(crate) fn down(&self) -> Result<(), String> {
        for (namespace, device) in [(self.server(), "vs0"), (self.client(), "vc0")] {
            if Path::new("/run/netns").join(&namespace).exists() {
                // A process inside keeps the namespace, and the other end may be gone first.
                let _ = run(&format!("ip -n {namespace} link delete {device}"));
                run(&format!("ip netns delete {namespace}"))?;
            }
        }
        let pins = self.pins();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        if mounts.lines().any(|line| line.split(' ').nth(1) == Some(&pins)) {
            run(&format!("umount {pins}"))?;
        }
        match fs::remove_dir_all(self.folder()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", self.folder()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn settings() -> Result<(), String> {
    for (name, value) in SETTINGS {
        let path = format!("/proc/sys/net/{name}");
        fs::write(&path, value).map_err(|error| format!("{path}: {error}"))?;
    }
    // A kernel without IPv6 has nothing to switch off.
    let _ = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    Ok(())
}

/// A name becomes part of namespaces, files and commands.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !plain || text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(format!("1 to {NAME_BYTES_MAX} of a-z and 0-9"));
    }
    Ok(text.to_owned())
}
