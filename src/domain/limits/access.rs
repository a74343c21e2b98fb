//! Allow and deny lists: by CIDR block, by autonomous system and by country.
//!
//! Lists come in layers, the nearest first: what an operator set while the house runs lies over what is configured. An
//! address rule of a nearer layer decides before one of a farther layer, so that a network that the file allows can be
//! denied in an emergency, and one that the file denies can be let in.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::network::{Source, keep_v4, keep_v6};
use crate::domain::settings::config;

/// Why a text is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Not an address, or an address with a prefix length of its family.
    Cidr,
    /// Not two characters of the form that Cloudflare sends.
    Country,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cidr => "not an address or a CIDR block such as 192.0.2.0/24 or 2001:db8::/32",
            Self::Country => "not a country code of two letters such as CH",
        })
    }
}

impl std::error::Error for ParseError {}

/// A block of addresses (RFC 4632 for IPv4, RFC 4291 §2.3 for IPv6); a bare address is a block of one.
///
/// Host bits are cleared when it is read. A block within `::ffff:0:0/96` is the IPv4 block that it maps, as callers'
/// addresses are folded the same way. Serialised as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Does the block hold this address? Addresses of the other family are never inside.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(block), IpAddr::V4(address)) => keep_v4(address, self.bits) == block,
            (IpAddr::V6(block), IpAddr::V6(address)) => keep_v6(address, self.bits) == block,
            _ => false,
        }
    }

    fn new(address: IpAddr, bits: u8) -> Option<Self> {
        // 96 = 128 − 32: the bits in front of a mapped IPv4 address.
        let (address, bits) = match (address, address.to_canonical(), bits.checked_sub(96)) {
            (IpAddr::V6(_), IpAddr::V4(mapped), Some(bits)) => (IpAddr::V4(mapped), bits),
            _ => (address, bits),
        };
        match address {
            IpAddr::V4(v4) if bits <= 32 => Some(IpAddr::V4(keep_v4(v4, bits))),
            IpAddr::V6(v6) if bits <= 128 => Some(IpAddr::V6(keep_v6(v6, bits))),
            _ => None,
        }
        .map(|address| Self { address, bits })
    }
}

impl FromStr for Cidr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ParseError::Cidr)?;
        let bits = match bits {
            None if address.is_ipv4() => 32,
            None => 128,
            // `u8::from_str` alone would take "+8".
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().map_err(|_| ParseError::Cidr)?
            }
            Some(_) => return Err(ParseError::Cidr),
        };
        Self::new(address, bits).ok_or(ParseError::Cidr)
    }
}

impl TryFrom<String> for Cidr {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        format!("{}/{}", cidr.address, cidr.bits)
    }
}

/// A country as Cloudflare names it: ISO 3166-1 alpha-2, or `XX` (unknown) or `T1` (Tor). Kept in upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

impl Country {
    /// No country is known.
    pub const UNKNOWN: Self = Self(*b"XX");

    /// Reads the platform's header; absent or malformed is [`Country::UNKNOWN`].
    #[must_use]
    pub fn of_header(text: Option<&str>) -> Self {
        text.and_then(|text| text.parse().ok())
            .unwrap_or(Self::UNKNOWN)
    }
}

impl FromStr for Country {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let code: [u8; 2] = text
            .as_bytes()
            .try_into()
            .map_err(|_| ParseError::Country)?;
        if code.iter().all(u8::is_ascii_alphanumeric) {
            Ok(Self(code.map(|byte| byte.to_ascii_uppercase())))
        } else {
            Err(ParseError::Country)
        }
    }
}

impl TryFrom<String> for Country {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.0.iter().map(|byte| char::from(*byte)).collect()
    }
}

/// One layer of lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Blocks that no deny rule touches; their limits still hold.
    pub allow: Vec<Cidr>,
    /// Blocks that may not call.
    pub deny: Vec<Cidr>,
    /// Autonomous systems (numbers of 32 bits, RFC 6793) that no deny rule touches.
    pub allow_asns: Vec<u32>,
    /// Autonomous systems that may not call.
    pub deny_asns: Vec<u32>,
    /// When any layer has some, only these countries may call.
    pub allow_countries: Vec<Country>,
    /// Countries that may not call.
    pub deny_countries: Vec<Country>,
}

/// What the lists say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No rule stands against the caller; the limits decide next. Nobody is exempt from those.
    Checked,
    /// A rule stands against the caller.
    Denied(DeniedBy),
}

/// Which rule denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedBy {
    /// A block of addresses.
    Address,
    /// An autonomous system.
    Network,
    /// A country.
    Country,
}

impl Access {
    /// The lists of the configuration. Its entries were checked when it was read; one that cannot be read is left out.
    #[must_use]
    pub fn of(lists: &config::Access) -> Self {
        fn read<T: FromStr>(list: &[String]) -> Vec<T> {
            list.iter().filter_map(|text| text.parse().ok()).collect()
        }
        Self {
            allow: read(&lists.allow),
            deny: read(&lists.deny),
            allow_asns: lists.allow_asns.clone(),
            deny_asns: lists.deny_asns.clone(),
            allow_countries: read(&lists.allow_countries),
            deny_countries: read(&lists.deny_countries),
        }
    }

    /// Applies this layer alone; see [`decide`].
    #[must_use]
    pub fn decide(&self, source: &Source, country: Option<&str>, asn: Option<u32>) -> Decision {
        decide(&[self], source, country, asn)
    }

    /// What the rules by address and by autonomous system say, if any of them matches.
    fn of_network(&self, source: &Source, asn: Option<u32>) -> Option<Decision> {
        let listed = |list: &[Cidr]| contains(list, source);
        let system = |list: &[u32]| asn.is_some_and(|asn| list.contains(&asn));
        if listed(&self.allow) || system(&self.allow_asns) {
            Some(Decision::Checked)
        } else if listed(&self.deny) {
            Some(Decision::Denied(DeniedBy::Address))
        } else if system(&self.deny_asns) {
            Some(Decision::Denied(DeniedBy::Network))
        } else {
            None
        }
    }
}

/// Is the caller's address in one of the blocks? A caller without an address is in none.
#[must_use]
pub fn contains(blocks: &[Cidr], source: &Source) -> bool {
    source
        .address()
        .is_some_and(|address| blocks.iter().any(|block| block.contains(address)))
}

/// Applies layers of lists, the nearest first. `country` and `asn` are what the platform tells.
///
/// In each layer: allowed blocks, allowed systems, denied blocks, denied systems; the first layer in which one of
/// them matches decides. Where none does, the countries of all layers together decide. A caller without an address
/// matches no block, and one without a known system no system.
#[must_use]
pub fn decide(
    layers: &[&Access],
    source: &Source,
    country: Option<&str>,
    asn: Option<u32>,
) -> Decision {
    if let Some(decision) = layers
        .iter()
        .find_map(|layer| layer.of_network(source, asn))
    {
        return decision;
    }
    let country = Country::of_header(country);
    let denied = layers.iter().any(|l| l.deny_countries.contains(&country));
    let allowed = layers.iter().all(|l| l.allow_countries.is_empty())
        || layers.iter().any(|l| l.allow_countries.contains(&country));
    if denied || !allowed {
        return Decision::Denied(DeniedBy::Country);
    }
    Decision::Checked
}

#[cfg(test)]
mod tests {
    use super::{Access, Cidr, Country, Decision, DeniedBy, decide};
    use crate::domain::limits::network::Source;

    fn blocks(list: &[&str]) -> Vec<Cidr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn countries(list: &[&str]) -> Vec<Country> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn blocks_hold_their_addresses_and_no_others() {
        for (block, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7/24", "192.0.2.200", "192.0.1.7"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "ffff::", "1.2.3.4"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
            ("192.0.2.0/24", "::ffff:192.0.2.9", "::192.0.2.9"),
        ] {
            let cidr: Cidr = block.parse().unwrap();
            assert!(cidr.contains(inside.parse().unwrap()), "{block} {inside}");
            assert!(
                !cidr.contains(outside.parse().unwrap()),
                "{block} {outside}"
            );
        }
    }

    #[test]
    fn malformed_blocks_are_errors() {
        for text in [
            "",
            "/",
            "192.0.2.0/",
            "192.0.2.0/33",
            "192.0.2.0/+8",
            "192.0.2.0/-1",
            "192.0.2.0/8/8",
            "192.0.2/24",
            "2001:db8::/129",
            "2001:db8::/256",
            "example.org",
            " 192.0.2.0/24",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn blocks_and_countries_are_text_in_json() {
        let access: Access = serde_json::from_str(
            r#"{"allow":["192.0.2.9/24","2001:DB8::1"],"deny_countries":["ch","T1"]}"#,
        )
        .unwrap();
        assert_eq!(
            serde_json::to_string(&access).unwrap(),
            r#"{"allow":["192.0.2.0/24","2001:db8::1/128"],"deny":[],"allow_asns":[],"deny_asns":[],"allow_countries":[],"deny_countries":["CH","T1"]}"#
        );
        assert!(serde_json::from_str::<Access>(r#"{"allow":["all"]}"#).is_err());
        assert!(serde_json::from_str::<Access>(r#"{"deny_countries":["CHE"]}"#).is_err());
    }

    #[test]
    fn the_allow_list_wins_over_deny_lists_and_countries() {
        let access = Access {
            allow: blocks(&["192.0.2.0/28"]),
            deny: blocks(&["192.0.2.0/24", "2001:db8::/32"]),
            deny_countries: countries(&["CH"]),
            ..Access::default()
        };
        let address = Decision::Denied(DeniedBy::Address);
        let country = Decision::Denied(DeniedBy::Country);
        for (ip, from, decision) in [
            ("192.0.2.1", Some("CH"), Decision::Checked),
            ("192.0.2.16", Some("DE"), address),
            ("2001:db8:1::1", None, address),
            ("198.51.100.1", Some("CH"), country),
            ("198.51.100.1", Some("ch"), country),
            ("198.51.100.1", Some("DE"), Decision::Checked),
            ("198.51.100.1", None, Decision::Checked),
            ("not an address", Some("CH"), country),
            ("not an address", Some("DE"), Decision::Checked),
        ] {
            let source = Source::parse(Some(ip));
            assert_eq!(
                access.decide(&source, from, None),
                decision,
                "{ip} {from:?}"
            );
        }
    }

    #[test]
    fn an_allow_list_of_countries_excludes_all_others_and_the_unknown() {
        let source = Source::parse(Some("198.51.100.1"));
        let mut access = Access {
            allow_countries: countries(&["CH", "DE"]),
            ..Access::default()
        };
        let denied = Decision::Denied(DeniedBy::Country);
        assert_eq!(access.decide(&source, Some("CH"), None), Decision::Checked);
        for from in [
            Some("FR"),
            Some("T1"),
            Some("XX"),
            Some("CHE"),
            Some("C\u{e9}"),
            Some(""),
            None,
        ] {
            assert_eq!(access.decide(&source, from, None), denied, "{from:?}");
        }
        access.allow_countries.push(Country::UNKNOWN);
        assert_eq!(access.decide(&source, None, None), Decision::Checked);
        access.deny_countries = countries(&["CH"]);
        assert_eq!(access.decide(&source, Some("CH"), None), denied);
    }

    #[test]
    fn systems_are_asked_after_allowed_blocks_and_before_countries() {
        let access = Access {
            allow: blocks(&["192.0.2.0/28"]),
            deny: blocks(&["192.0.2.0/24"]),
            allow_asns: vec![64496],
            deny_asns: vec![64497, 4_294_967_295],
            deny_countries: countries(&["CH"]),
            ..Access::default()
        };
        let denied = |by| Decision::Denied(by);
        for (ip, asn, from, decision) in [
            ("192.0.2.1", Some(64497), "CH", Decision::Checked),
            ("192.0.2.99", Some(64496), "CH", Decision::Checked),
            ("192.0.2.99", Some(64497), "DE", denied(DeniedBy::Address)),
            ("198.51.100.1", Some(64497), "CH", denied(DeniedBy::Network)),
            (
                "not an address",
                Some(4_294_967_295),
                "DE",
                denied(DeniedBy::Network),
            ),
            ("198.51.100.1", Some(64498), "CH", denied(DeniedBy::Country)),
            ("198.51.100.1", None, "DE", Decision::Checked),
        ] {
            let source = Source::parse(Some(ip));
            let said = access.decide(&source, Some(from), asn);
            assert_eq!(said, decision, "{ip} {asn:?} {from}");
        }
    }

    #[test]
    fn a_nearer_layer_decides_about_addresses_and_countries_add_up() {
        let far = Access {
            allow: blocks(&["192.0.2.0/24"]),
            deny: blocks(&["198.51.100.0/24"]),
            allow_countries: countries(&["CH"]),
            ..Access::default()
        };
        let near = Access {
            allow: blocks(&["198.51.100.7"]),
            deny: blocks(&["192.0.2.7"]),
            deny_asns: vec![64497],
            allow_countries: countries(&["DE"]),
            deny_countries: countries(&["FR"]),
            ..Access::default()
        };
        let address = Decision::Denied(DeniedBy::Address);
        let country = Decision::Denied(DeniedBy::Country);
        for (ip, asn, from, decision) in [
            // The operator's deny wins over the file's allow, and the operator's allow over the file's deny.
            ("192.0.2.7", None, "CH", address),
            ("192.0.2.8", None, "FR", Decision::Checked),
            (
                "192.0.2.8",
                Some(64497),
                "CH",
                Decision::Denied(DeniedBy::Network),
            ),
            ("198.51.100.7", None, "FR", Decision::Checked),
            ("198.51.100.8", None, "CH", address),
            ("203.0.113.1", None, "CH", Decision::Checked),
            ("203.0.113.1", None, "DE", Decision::Checked),
            ("203.0.113.1", None, "FR", country),
            ("203.0.113.1", None, "AT", country),
        ] {
            let source = Source::parse(Some(ip));
            let said = decide(&[&near, &far], &source, Some(from), asn);
            assert_eq!(said, decision, "{ip} {asn:?} {from}");
        }
        let nobody = Source::parse(None);
        assert_eq!(decide(&[], &nobody, None, None), Decision::Checked);
    }

    #[test]
    fn the_configured_lists_are_read_in_full() {
        let lists: crate::domain::settings::config::Access = serde_json::from_str(
            r#"{"allow":["192.0.2.1"],"deny":["2001:db8::/32"],"allow_countries":["CH"],
                "deny_countries":["FR"],"allow_asns":[1],"deny_asns":[2]}"#,
        )
        .unwrap();
        let access = Access::of(&lists);
        assert_eq!(
            serde_json::to_string(&access).unwrap(),
            r#"{"allow":["192.0.2.1/32"],"deny":["2001:db8::/32"],"allow_asns":[1],"deny_asns":[2],"allow_countries":["CH"],"deny_countries":["FR"]}"#
        );
    }
}
