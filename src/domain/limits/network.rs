//! The caller's address: which limiter object it belongs to, and which row in it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::digest::{Bytes32, base64url, hmac_sha256};

/// Where a request came from, as far as the platform vouches for it.
///
/// Built from `CF-Connecting-IP` alone. A header that is not exactly one address (absent, a list, with a port or
/// spaces) yields no address, and all such callers share one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    address: Option<IpAddr>,
}

impl Source {
    /// Reads the header; an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) becomes the IPv4 address that it carries.
    #[must_use]
    pub fn parse(connecting_ip: Option<&str>) -> Self {
        let address = connecting_ip
            .and_then(|text| text.parse::<IpAddr>().ok())
            .map(|address| address.to_canonical());
        Self { address }
    }

    /// The address; `None` when the header was not exactly one.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The network whose limiter object decides.
    #[must_use]
    pub fn network(&self) -> Network {
        match self.address {
            Some(IpAddr::V4(address)) => Network::V4(keep_v4(address, Network::V4_BITS)),
            Some(IpAddr::V6(address)) => Network::V6(keep_v6(address, Network::V6_BITS)),
            None => Network::Unknown,
        }
    }

    /// The client in that object: an IPv4 address, or an IPv6 /64 (what one household or server is given). What is stored
    /// bears [`client_name`] instead.
    #[must_use]
    pub fn client(&self) -> String {
        match self.address {
            Some(IpAddr::V4(address)) => address.to_string(),
            Some(IpAddr::V6(address)) => keep_v6(address, 64).to_string(),
            None => "unknown".to_owned(),
        }
    }
}

/// The part of the address space that one limiter object serves.
///
/// `Display` gives `v4-198.51.100.0`, `v6-2001:db8:1::` or `unknown`; what is stored bears [`network_name`] instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// An IPv4 /24, its host bits zero.
    V4(Ipv4Addr),
    /// An IPv6 /48, its host bits zero.
    V6(Ipv6Addr),
    /// Callers without exactly one address.
    Unknown,
}

impl Network {
    /// Prefix length of an IPv4 network: 256 addresses.
    pub const V4_BITS: u8 = 24;
    /// Prefix length of an IPv6 network: 65,536 subnets of /64, what one site is given (RFC 6177).
    pub const V6_BITS: u8 = 48;
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => write!(f, "v4-{address}"),
            Self::V6(address) => write!(f, "v6-{address}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// The network's name in stored names: 22 characters of base64url that tell nothing without the key.
#[must_use]
pub fn network_name(key: &Bytes32, source: &Source) -> String {
    hashed(key, "network", &source.network().to_string())
}

/// The client's name in stored rows: 22 characters of base64url that tell nothing without the key.
#[must_use]
pub fn client_name(key: &Bytes32, source: &Source) -> String {
    hashed(key, "client", &source.client())
}

/// The first half of an HMAC: 128 bits are enough to tell clients apart. There are so few IPv4 addresses that a hash
/// without a key would be undone by trying them all.
fn hashed(key: &Bytes32, kind: &str, text: &str) -> String {
    let digest = hmac_sha256(key, format!("{kind} {text}").as_bytes());
    base64url(digest.first_chunk::<16>().unwrap_or(&[0; 16]))
}

/// Clears all but the first `bits` of an IPv4 address.
pub(super) fn keep_v4(address: Ipv4Addr, bits: u8) -> Ipv4Addr {
    let host = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & !host)
}

/// Clears all but the first `bits` of an IPv6 address.
pub(super) fn keep_v6(address: Ipv6Addr, bits: u8) -> Ipv6Addr {
    let host = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & !host)
}

#[cfg(test)]
mod tests {
    use super::{Source, client_name, network_name};

    #[test]
    fn stored_names_hold_no_address_and_depend_on_the_key() {
        let key = [7; 32];
        let names = |ip: &str, key| {
            let source = Source::parse(Some(ip));
            (network_name(key, &source), client_name(key, &source))
        };
        let (network, client) = names("198.51.100.7", &key);
        // Pinned: a change would refill every limit once.
        assert_eq!(network, "ABCgUNxv-Um4Mxc-E8qy-w");
        assert_eq!(client, "5X564XMrAgYd6M_WSS5TAg");
        assert_eq!(names("198.51.100.8", &key).0, network);
        assert_ne!(names("198.51.100.8", &key).1, client);
        assert_ne!(names("198.51.101.7", &key).0, network);
        assert_ne!(names("198.51.100.7", &[8; 32]).0, network);
        // Without exactly one address both texts are "unknown", and the names still differ.
        let (network, client) = names("", &key);
        assert_ne!(network, client);
        assert!(network.len() == 22 && client.len() == 22);
    }

    #[test]
    fn one_address_names_its_object_and_row() {
        for (header, object, client) in [
            ("198.51.100.7", "v4-198.51.100.0", "198.51.100.7"),
            ("0.0.0.0", "v4-0.0.0.0", "0.0.0.0"),
            ("::ffff:198.51.100.7", "v4-198.51.100.0", "198.51.100.7"),
            ("2001:db8:1:2:3:4:5:6", "v6-2001:db8:1::", "2001:db8:1:2::"),
            ("2001:DB8:1:2::", "v6-2001:db8:1::", "2001:db8:1:2::"),
            ("::1", "v6-::", "::"),
        ] {
            let source = Source::parse(Some(header));
            assert_eq!(source.network().to_string(), object, "{header}");
            assert_eq!(source.client(), client, "{header}");
        }
    }

    #[test]
    fn anything_but_exactly_one_address_shares_one_row() {
        for header in [
            None,
            Some(""),
            Some("198.51.100.7, 203.0.113.9"),
            Some("198.51.100.7,"),
            Some(" 198.51.100.7"),
            Some("198.51.100.7 "),
            Some("198.51.100.7:443"),
            Some("198.51.100.07"),
            Some("198.51.100"),
            Some("3325256711"),
            Some("[2001:db8::1]"),
            Some("fe80::1%eth0"),
            Some("2001:db8::1/64"),
            Some("localhost"),
        ] {
            let source = Source::parse(header);
            assert_eq!(source.network().to_string(), "unknown", "{header:?}");
            assert_eq!(source.client(), "unknown", "{header:?}");
            assert_eq!(source.address(), None, "{header:?}");
        }
    }

    #[test]
    fn neighbours_in_a_64_share_a_row_and_neighbours_in_a_48_share_an_object() {
        let a = Source::parse(Some("2001:db8:1:2::1"));
        let b = Source::parse(Some("2001:db8:1:2:ffff::1"));
        let c = Source::parse(Some("2001:db8:1:3::1"));
        let d = Source::parse(Some("2001:db8:2:2::1"));
        assert_eq!(a.client(), b.client());
        assert_ne!(a.client(), c.client());
        assert_eq!(a.network(), c.network());
        assert_ne!(a.network(), d.network());
    }
}
