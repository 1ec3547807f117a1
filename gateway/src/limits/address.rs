//! Who is at the other end: networks in CIDR form, and the address behind the proxies that are trusted.
//! Pure: what a client could have invented is not believed.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The part of an address that one subscriber has: all of IPv4, the first 64 bits of IPv6.
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

/// A network in CIDR form, as in `10.0.0.0/8`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// The text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a network of the form 10.0.0.0/8 or 2001:db8::/32: {0}")]
pub struct NetworkError(String);

impl Network {
    /// Whether the address is one of the network's.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let first: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = match prefix {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
            None => longest,
        };
        if prefix > longest {
            return Err(wrong());
        }
        // Addresses are compared in their shortest form, so IPv4 dressed as IPv6 is undressed here too.
        match first.to_canonical() {
            canonical if canonical.is_ipv4() == first.is_ipv4() => Ok(Network { first, prefix }),
            canonical if prefix >= 96 => Ok(Network { first: canonical, prefix: prefix - 96 }),
            _ => Err(wrong()),
        }
    }
}

/// Who is at the other end. `x-forwarded-for` is read from the right, and only as far as trusted proxies wrote it: what
/// stands further left was the client's to invent.
pub fn client_address(peer: IpAddr, x_forwarded_for: Option<&str>, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    for hop in x_forwarded_for.unwrap_or_default().rsplit(',') {
        if !is_trusted(client) {
            break;
        }
        let Some(address) = hop_address(hop.trim()) else { break };
        client = address;
    }
    client
}

/// An address, perhaps with a port, perhaps in brackets.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(hop, |(bare, _)| bare);
    let with_port = || hop.parse::<std::net::SocketAddr>().map(|address| address.ip());
    bare.parse::<IpAddr>().or_else(|_| with_port()).ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_read_as_cidr_and_nothing_else() {
        let check = |network: &str, address: &str, inside: bool| {
            assert_eq!(network.parse::<Network>().unwrap().contains(ip(address)), inside, "{address} in {network}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.1.2.3/8", "10.9.9.9", true);
        check("10.0.0.0/8", "::ffff:10.0.0.1", true);
        check("::ffff:10.0.0.0/104", "10.0.0.1", true);
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("::/0", "2001:db8::1", true);
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "proxy",
            "::ffff:1.2.3.4/8",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_client_is_the_first_stranger_from_the_right() {
        let trusted: Vec<Network> = ["10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().unwrap()).collect();
        let check = |peer: &str, forwarded: Option<&str>, expected: &str| {
            assert_eq!(client_address(ip(peer), forwarded, &trusted), ip(expected), "{peer} {forwarded:?}");
        };
        check("203.0.113.9", None, "203.0.113.9");
        check("203.0.113.9", Some("192.0.2.1"), "203.0.113.9");
        check("10.0.0.1", None, "10.0.0.1");
        check("10.0.0.1", Some("192.0.2.1"), "192.0.2.1");
        check("::ffff:10.0.0.1", Some("192.0.2.1"), "192.0.2.1");
        check("10.0.0.1", Some("198.51.100.7, 192.0.2.1"), "192.0.2.1");
        check("10.0.0.1", Some("198.51.100.7, 192.0.2.1 , 10.2.3.4"), "192.0.2.1");
        check("10.0.0.1", Some("10.9.9.9, fd00::1"), "10.9.9.9");
        check("10.0.0.1", Some("192.0.2.1:1234"), "192.0.2.1");
        check("fd00::2", Some("[2001:db8::1]:443"), "2001:db8::1");
        check("10.0.0.1", Some("2001:db8::1"), "2001:db8::1");
        check("10.0.0.1", Some("192.0.2.1, unknown"), "10.0.0.1");
        check("10.0.0.1", Some("192.0.2.1, unknown, 10.2.3.4"), "10.2.3.4");
        check("10.0.0.1", Some(",,"), "10.0.0.1");
        check("10.0.0.1", Some("192.0.2.1,"), "10.0.0.1");
    }
}
