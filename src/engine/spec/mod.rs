//! Where engines come from, as an operator writes it: one `SPEC` names an engine, a DNS name, an
//! orchestrator's list or a file.
//!
//! It parses text and never resolves, opens or asks anything. A [`Spec`] exists only where the
//! text had one of the accepted forms, so its hosts are safe in a `Host` header.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::str::FromStr;

/// The port an engine's HTTP API listens on unless told otherwise.
pub const PORT_DEFAULT: u16 = 6878;
/// Where an orchestrator lists its engines, when the URL has no path of its own.
pub const ORCHESTRATOR_PATH_DEFAULT: &str = "/api/v1/engines";
/// A list longer than this is a mistake, not a pool.
pub const SPECS_MAX: usize = 1_024;

const HOST_BYTES_MAX: usize = 253;
const NAME_BYTES_MAX: usize = 64;
const PATH_BYTES_MAX: usize = 1_024;
const ACCEPTED: &str = "accepted: HOST[:PORT][,name=ID][,forwarded][,max=N] (an IPv6 address in \
                        brackets), dns:NAME:PORT, orchestrator:http://HOST[:PORT][/PATH], file:PATH";

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Spec {
    Host(HostSpec),
    /// Every address of the name is an engine of its own.
    Dns {
        name: String,
        port: u16,
    },
    Orchestrator(OrchestratorUrl),
    /// One SPEC per line, watched.
    File {
        path: String,
    },
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostSpec {
    /// A name or an address, lower case, IPv6 without its brackets.
    pub host: String,
    pub port: u16,
    pub name: Option<String>,
    /// The engine's P2P port is reachable from outside: preferred among equals.
    pub forwarded: bool,
    pub max: Option<NonZeroU32>,
}

/// Plain http only: the list is fetched inside the host's own network.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OrchestratorUrl {
    pub host: String,
    pub port: u16,
    pub path: String,
}

/// Why a text is no SPEC; its words name the accepted forms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpecError {
    text: String,
    why: String,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "engine \"{}\": {}; {ACCEPTED}", self.text, self.why)
    }
}

impl std::error::Error for SpecError {}

impl HostSpec {
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let host = parse_host(host).ok()?;
        (port != 0).then_some(Self { host, port, name: None, forwarded: false, max: None })
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let text = text.trim();
        parse_spec(text).map_err(|why| SpecError { text: text.chars().take(200).collect(), why })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => {
                f.write_str(&host_header(&host.host, host.port))?;
                if let Some(name) = &host.name {
                    write!(f, ",name={name}")?;
                }
                if host.forwarded {
                    f.write_str(",forwarded")?;
                }
                host.max.map_or(Ok(()), |max| write!(f, ",max={max}"))
            }
            Self::Dns { name, port } => write!(f, "dns:{name}:{port}"),
            Self::Orchestrator(url) => write!(f, "orchestrator:{url}"),
            Self::File { path } => write!(f, "file:{path}"),
        }
    }
}

impl fmt::Display for OrchestratorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", host_header(&self.host, self.port), self.path)
    }
}

/// Several SPECs in one text, as in an environment variable: separated by blanks or semicolons,
/// or by a comma where what follows looks like a host and not like an option.
pub fn parse_many(text: &str) -> Result<Vec<Spec>, SpecError> {
    let mut specs = Vec::new();
    for group in text.split(|c: char| c.is_whitespace() || c == ';') {
        let mut start = 0;
        for (comma, _) in group.match_indices(',') {
            let next = group[comma + 1..].split(',').next().unwrap_or("");
            let option = next.contains('=') || !next.contains(['.', ':', '[']);
            if !option {
                push_spec(&mut specs, &group[start..comma])?;
                start = comma + 1;
            }
        }
        push_spec(&mut specs, &group[start..])?;
    }
    Ok(specs)
}

/// The content of a `file:`: one SPEC per line, `#` begins a comment. A file names no file.
pub fn parse_list(text: &str) -> Result<Vec<Spec>, SpecError> {
    let mut specs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        let at_line = |mut error: SpecError| {
            error.why = format!("line {}: {}", number + 1, error.why);
            error
        };
        push_spec(&mut specs, line).map_err(at_line)?;
        if matches!(specs.last(), Some(Spec::File { .. })) {
            let why = "a file of engines cannot name another file".to_owned();
            return Err(at_line(SpecError { text: line.to_owned(), why }));
        }
    }
    Ok(specs)
}

fn push_spec(specs: &mut Vec<Spec>, text: &str) -> Result<(), SpecError> {
    if text.is_empty() {
        return Ok(());
    }
    if specs.len() >= SPECS_MAX {
        let why = format!("more than {SPECS_MAX} engines");
        return Err(SpecError { text: text.to_owned(), why });
    }
    specs.push(text.parse()?);
    Ok(())
}

/// `HOST:PORT` with the brackets that an IPv6 address needs there.
pub fn host_header(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A host may be called as a kind of source is: then its port follows, and nothing else.
fn of_kind<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(kind)?;
    let port = rest.split(',').next().unwrap_or_default();
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (!is_port).then_some(rest)
}

fn parse_spec(text: &str) -> Result<Spec, String> {
    if let Some(rest) = of_kind(text, "dns:") {
        let (name, port) = parse_authority(rest)?;
        if name.parse::<IpAddr>().is_ok() {
            return Err("dns: takes a name, not an address".to_owned());
        }
        return Ok(Spec::Dns { name, port: port.unwrap_or(PORT_DEFAULT) });
    }
    if let Some(rest) = of_kind(text, "orchestrator:") {
        return parse_orchestrator(rest).map(Spec::Orchestrator);
    }
    if let Some(path) = of_kind(text, "file:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains('\0') {
            return Err("file: takes a path".to_owned());
        }
        return Ok(Spec::File { path: path.to_owned() });
    }
    if text.contains("://") {
        return Err("an engine is written without http://".to_owned());
    }
    let (authority, options) = text.split_once(',').map_or((text, None), |(a, o)| (a, Some(o)));
    let (host, port) = parse_authority(authority)?;
    let mut spec = HostSpec {
        host,
        port: port.unwrap_or(PORT_DEFAULT),
        name: None,
        forwarded: false,
        max: None,
    };
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        apply_option(&mut spec, option.trim())?;
    }
    Ok(Spec::Host(spec))
}

fn apply_option(spec: &mut HostSpec, option: &str) -> Result<(), String> {
    match option.split_once('=') {
        None if option == "forwarded" => spec.forwarded = true,
        Some(("name", name)) if is_engine_name(name) => spec.name = Some(name.to_owned()),
        Some(("name", _)) => {
            return Err(format!("name= takes up to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ -"));
        }
        Some(("max", max)) => {
            spec.max = Some(max.parse().map_err(|_| "max= takes a number from 1".to_owned())?);
        }
        None | Some(_) => return Err(format!("unknown option \"{option}\"")),
    }
    Ok(())
}

/// A name that can stand in logs, URLs and metric labels as it is.
pub fn is_engine_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain)
}

fn parse_orchestrator(url: &str) -> Result<OrchestratorUrl, String> {
    let rest = url.strip_prefix("http://").ok_or("orchestrator: takes an http:// URL")?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    if path.len() > PATH_BYTES_MAX || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err("the path of the orchestrator's URL has characters it cannot have".to_owned());
    }
    let (host, port) = parse_authority(authority)?;
    let path = match path {
        "" | "/" => ORCHESTRATOR_PATH_DEFAULT.to_owned(),
        query if query.starts_with('?') => format!("{ORCHESTRATOR_PATH_DEFAULT}{query}"),
        path => path.to_owned(),
    };
    Ok(OrchestratorUrl { host, port: port.unwrap_or(80), path })
}

/// `HOST[:PORT]`, `[v6][:PORT]`.
fn parse_authority(text: &str) -> Result<(String, Option<u16>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or("the closing ] is missing")?;
        let address: Ipv6Addr =
            address.parse().map_err(|_| format!("\"{address}\" is no IPv6 address"))?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if after.is_empty() => None,
            None => return Err(format!("\"{after}\" after the address")),
        };
        return Ok((address.to_string(), port));
    }
    match text.split_once(':') {
        None => Ok((parse_host(text)?, None)),
        Some((_, port)) if port.contains(':') => {
            Err("an IPv6 address needs brackets, as in [::1]:6878".to_owned())
        }
        Some((host, port)) => Ok((parse_host(host)?, Some(parse_port(port)?))),
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port != 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        Ok(_) | Err(_) => Err(format!("\"{text}\" is no port (1 to 65535)")),
    }
}

fn parse_host(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > HOST_BYTES_MAX || !text.bytes().all(plain) {
        return Err(if text.is_empty() {
            "the host is missing".to_owned()
        } else {
            format!("\"{text}\" is no host name or address")
        });
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
