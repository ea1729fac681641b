//! Lists of addresses: who may connect, which proxies are believed.
//!
//! Every address is normalised first: an IPv4 address mapped into IPv6 is that IPv4 address, in
//! lists, limits and logs alike.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Entries of one list.
const ENTRIES_MAX: usize = 1024;
/// What a household or a virtual machine is given.
const LIMIT_PREFIX_V6: u8 = 64;

/// IPv4 mapped into IPv6 becomes IPv4.
pub fn normalise(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// What per-address limits count by: the address, of IPv6 its /64.
pub fn limit_key(address: IpAddr) -> IpAddr {
    match normalise(address) {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() & mask(LIMIT_PREFIX_V6, 128);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

/// Loopback, RFC 1918, unique local, link-local, and the carriers' 100.64/10.
pub fn is_private(address: IpAddr) -> bool {
    match normalise(address) {
        IpAddr::V4(address) => {
            let shared = address.octets()[0] == 100 && address.octets()[1] & 0xC0 == 64;
            address.is_loopback() || address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// A network: an address and how many of its leading bits count.
///
/// Having one tells you: the bits behind the prefix are zero, and a mapped network is written as
/// the IPv4 network that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// What is wrong with a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCidr {
    #[error("`{0}` is no address and no network (10.0.0.0/8, 192.168.1.7, fd00::/8)")]
    Syntax(String),
    #[error("`{text}`: the prefix has at most {max} bits")]
    Prefix { text: String, max: u8 },
    #[error("more than {ENTRIES_MAX} networks")]
    TooMany,
}

impl Cidr {
    /// True when the address, normalised, lies within.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, normalise(address)) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = mask(self.prefix, 32) as u32;
                network.to_bits() == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                network.to_bits() == address.to_bits() & mask(self.prefix, 128)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    /// An address alone is a network of one; host bits are cut off; brackets are tolerated.
    fn from_str(text: &str) -> Result<Cidr, BadCidr> {
        let text = text.trim();
        let syntax = || BadCidr::Syntax(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let unbracketed = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address: IpAddr = unbracketed.unwrap_or(address).parse().map_err(|_| syntax())?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let digits = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let prefix: u8 = match prefix {
            None => max,
            Some(text) => {
                Some(text).filter(digits).and_then(|t| t.parse().ok()).ok_or_else(syntax)?
            }
        };
        if prefix > max {
            return Err(BadCidr::Prefix { text: text.to_owned(), max });
        }
        let (address, prefix) = match (address, normalise(address)) {
            (IpAddr::V6(_), IpAddr::V4(mapped)) if prefix >= 96 => {
                (IpAddr::V4(mapped), prefix - 96)
            }
            (address, _) => (address, prefix),
        };
        let network = match address {
            IpAddr::V4(address) => {
                let bits = address.to_bits() & mask(prefix, 32) as u32;
                IpAddr::V4(bits.into())
            }
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() & mask(prefix, 128)).into()),
        };
        Ok(Cidr { network, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// Networks of which one must contain an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrList(Vec<Cidr>);

impl CidrList {
    /// Contains nobody.
    pub const EMPTY: CidrList = CidrList(Vec::new());

    /// From networks separated by commas or blanks.
    pub fn parse(text: &str) -> Result<CidrList, BadCidr> {
        let entries = text.split([',', ' ', '\t', '\n']).filter(|entry| !entry.is_empty());
        let list = entries.map(str::parse).collect::<Result<Vec<Cidr>, BadCidr>>()?;
        if list.len() > ENTRIES_MAX { Err(BadCidr::TooMany) } else { Ok(CidrList(list)) }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromStr for CidrList {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<CidrList, BadCidr> {
        CidrList::parse(text)
    }
}

impl fmt::Display for CidrList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            write!(f, "{}{network}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowList {
    Any,
    /// [`is_private`].
    #[default]
    Private,
    List(CidrList),
}

impl AllowList {
    pub fn allows(&self, address: IpAddr) -> bool {
        match self {
            AllowList::Any => true,
            AllowList::Private => is_private(address),
            AllowList::List(list) => list.contains(address),
        }
    }
}

impl FromStr for AllowList {
    type Err = BadCidr;

    /// `any`, `private`, or a list, which must not be empty: it would lock everybody out.
    fn from_str(text: &str) -> Result<AllowList, BadCidr> {
        match text.trim() {
            "" => Err(BadCidr::Syntax(String::new())),
            text if text.eq_ignore_ascii_case("any") => Ok(AllowList::Any),
            text if text.eq_ignore_ascii_case("private") => Ok(AllowList::Private),
            text => Ok(AllowList::List(CidrList::parse(text)?)),
        }
    }
}

impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AllowList::Any => f.write_str("any"),
            AllowList::Private => f.write_str("private"),
            AllowList::List(list) => list.fmt(f),
        }
    }
}

/// The leading `prefix` of `width` bits set, in the low bits of the result.
fn mask(prefix: u8, width: u32) -> u128 {
    let all = u128::MAX >> (128 - width);
    let host_bits = width - u32::from(prefix);
    all & all.checked_shl(host_bits).unwrap_or(0)
}
