//! `RINGCAST_REDIS_URL` taken apart: one server, a Sentinel's master, or a Cluster.
//!
//! | form | is |
//! |---|---|
//! | `redis://[[USER]:PASSWORD@]HOST[:6379][/DB]` | one server; a node of a Cluster is recognised |
//! | `rediss://…` | the same with TLS; `#insecure` at its end accepts any certificate |
//! | `redis+unix:///PATH[?db=N&user=U&pass=P]`, `unix://…` | a socket of this host |
//! | `redis+sentinel://[[USER]:PASSWORD@]HOST[:26379][,HOST…]/MASTER[/DB]` | what the Sentinels say |
//! | `redis+cluster://[[USER]:PASSWORD@]HOST[:6379][,HOST…]` | a Cluster, by several of its nodes |
//!
//! `rediss+sentinel://` and `rediss+cluster://` speak TLS to the servers, with `#insecure` as above.
//! A Sentinel's own login is `?sentinel_username=U&sentinel_password=P`.

use redis::ConnectionInfo;
use redis::IntoConnectionInfo;
use redis::RedisConnectionInfo;
use redis::TlsMode;

const PORT: u16 = 6_379;
const SENTINEL_PORT: u16 = 26_379;

/// Hosts that one URL may name.
const HOSTS_MAX: usize = 32;

#[derive(Clone, Debug)]
pub enum Place {
    One(ConnectionInfo),
    Cluster(Vec<ConnectionInfo>),
    Sentinel(Sentinel),
}

#[derive(Clone, Debug)]
pub struct Sentinel {
    pub nodes: Vec<ConnectionInfo>,
    pub master: String,
    /// How the master is spoken to.
    pub login: RedisConnectionInfo,
    pub tls: Option<TlsMode>,
}

impl Place {
    /// The error is for the operator and holds no password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "redis+sentinel" => Self::sentinel(rest, None),
            "rediss+sentinel" => tls(rest).and_then(|(rest, tls)| Self::sentinel(rest, Some(tls))),
            "redis+cluster" => Self::cluster(rest, "redis", ""),
            "rediss+cluster" => match tls(rest)? {
                (rest, TlsMode::Insecure) => Self::cluster(rest, "rediss", "/#insecure"),
                (rest, _) => Self::cluster(rest, "rediss", ""),
            },
            _ => Ok(Self::One(info(&format!("{scheme}://{rest}"))?)),
        }
    }

    fn cluster(rest: &str, scheme: &str, end: &str) -> Result<Self, String> {
        let parts = Parts::split(rest)?;
        Ok(Self::Cluster(parts.nodes(scheme, &parts.login, PORT, end)?))
    }

    fn sentinel(rest: &str, tls: Option<TlsMode>) -> Result<Self, String> {
        let parts = Parts::split(rest)?;
        let mut path = parts.path.splitn(2, '/');
        let master = path.next().filter(|name| !name.is_empty());
        let master = master.ok_or("it names no master: …/MASTER")?.to_owned();
        let db = path.next().unwrap_or("");
        let server = info(&format!("redis://{}localhost/{db}", parts.login))?;
        let login = server.redis_settings().clone();
        let own = match (parts.query("sentinel_username"), parts.query("sentinel_password")) {
            (_, None) => String::new(),
            (user, Some(password)) => format!("{}:{password}@", user.unwrap_or("")),
        };
        let nodes = parts.nodes("redis", &own, SENTINEL_PORT, "")?;
        Ok(Self::Sentinel(Sentinel { nodes, master, login, tls }))
    }

    /// For logs: where it is, without a login.
    pub fn name(&self) -> String {
        let of = |nodes: &[ConnectionInfo]| {
            let names: Vec<String> = nodes.iter().map(|node| node.addr().to_string()).collect();
            names.join(",")
        };
        match self {
            Self::One(info) => info.addr().to_string(),
            Self::Cluster(nodes) => format!("cluster {}", of(nodes)),
            Self::Sentinel(sentinel) => {
                format!("{} by sentinels {}", sentinel.master, of(&sentinel.nodes))
            }
        }
    }
}

struct Parts<'a> {
    /// With its `@`, or empty.
    login: String,
    hosts: Vec<&'a str>,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn split(rest: &'a str) -> Result<Self, String> {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (format!("{login}@"), hosts),
            None => (String::new(), authority),
        };
        let hosts: Vec<&str> = hosts.split(',').filter(|host| !host.is_empty()).collect();
        if hosts.is_empty() {
            return Err("it names no host".to_owned());
        }
        if hosts.len() > HOSTS_MAX {
            return Err(format!("it names more than {HOSTS_MAX} hosts"));
        }
        Ok(Self { login, hosts, path, query })
    }

    fn query(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn nodes(
        &self,
        scheme: &str,
        login: &str,
        port: u16,
        end: &str,
    ) -> Result<Vec<ConnectionInfo>, String> {
        let of = |host: &&str| info(&format!("{scheme}://{login}{}{end}", ported(host, port)));
        self.hosts.iter().map(of).collect()
    }
}

/// What stands before the fragment, and what it says of certificates.
fn tls(rest: &str) -> Result<(&str, TlsMode), String> {
    match rest.split_once('#') {
        None => Ok((rest, TlsMode::Secure)),
        Some((rest, "insecure")) => Ok((rest, TlsMode::Insecure)),
        Some(_) => Err("behind # there may be \"insecure\" and nothing else".to_owned()),
    }
}

fn ported(host: &str, port: u16) -> String {
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    if after.contains(':') { host.to_owned() } else { format!("{host}:{port}") }
}

fn info(url: &str) -> Result<ConnectionInfo, String> {
    let info = url.into_connection_info();
    let info = info.map_err(|error| error.detail().unwrap_or("it is not understood").to_owned())?;
    // Not CLIENT SETINFO: a login that may do no more than it needs is logged for trying.
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    Ok(info.set_redis_settings(settings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::ConnectionAddr;

    fn name(url: &str) -> String {
        Place::parse(url).unwrap().name()
    }

    #[test]
    fn every_form_leads_to_its_servers() {
        assert_eq!(name("redis://h"), "h:6379");
        assert_eq!(name("REDIS://u:p@h:7/3"), "h:7");
        assert_eq!(name("rediss://h"), "h:6379");
        assert_eq!(name("redis+unix:///run/r.sock?db=2"), "/run/r.sock");
        assert_eq!(name("unix:///run/r.sock"), "/run/r.sock");
        assert_eq!(name("redis+cluster://:p@a,b:7,[::1]"), "cluster a:6379,b:7,::1:6379");
        let sentinel = "redis+sentinel://u:p@a,b:7/main/2?sentinel_password=x";
        assert_eq!(name(sentinel), "main by sentinels a:26379,b:7");
        let Place::Sentinel(sentinel) = Place::parse(sentinel).unwrap() else { panic!() };
        assert_eq!(sentinel.login.db(), 2);
        assert!(sentinel.login.skip_set_lib_name());
        assert_eq!((sentinel.login.username(), sentinel.login.password()), (Some("u"), Some("p")));
        assert_eq!(sentinel.nodes[0].redis_settings().password(), Some("x"));
    }

    #[test]
    fn any_certificate_will_do_only_where_it_is_said() {
        let tls = |url: &str| match Place::parse(url).unwrap() {
            Place::Sentinel(sentinel) => sentinel.tls,
            Place::Cluster(nodes) => {
                let ConnectionAddr::TcpTls { insecure, .. } = nodes[0].addr() else { return None };
                Some(if *insecure { TlsMode::Insecure } else { TlsMode::Secure })
            }
            Place::One(_) => panic!("{url}"),
        };
        assert_eq!(tls("redis+sentinel://a/main"), None);
        assert_eq!(tls("rediss+sentinel://a/main"), Some(TlsMode::Secure));
        assert_eq!(tls("rediss+sentinel://a/main/1#insecure"), Some(TlsMode::Insecure));
        assert_eq!(tls("redis+cluster://a,b"), None);
        assert_eq!(tls("rediss+cluster://u:p@a,b:7"), Some(TlsMode::Secure));
        assert_eq!(tls("rediss+cluster://u:p@a,b:7#insecure"), Some(TlsMode::Insecure));
        assert!(Place::parse("rediss+cluster://a#secure").unwrap_err().contains("insecure"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for wrong in ["h:1", "http://u:secret@h", "redis+sentinel://u:secret@h", "redis+cluster://"]
        {
            let error = Place::parse(wrong).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
