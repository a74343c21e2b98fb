//! The forms of names, addresses and dates that a configuration may hold.

pub(super) const NAME_RULE: &str = "must be 1 to 64 characters of a-z, 0-9, '-', '_' and '.'";
pub(super) const VARIABLE_RULE: &str =
    "must be the name of a variable: A-Z, 0-9 and '_', not the value itself";
pub(super) const BASE_URL_RULE: &str = "must be https://host[:port][/path] without query, or http:// for this machine or a private network";

pub(super) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.')
        })
}

pub(super) fn is_variable(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// An origin as browsers send it: scheme, host and port, in lower case, nothing after.
#[must_use]
pub fn is_origin(origin: &str) -> bool {
    let rest = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    rest.is_some_and(|host| {
        !host.is_empty()
            && host.bytes().all(|b| {
                b.is_ascii_lowercase()
                    || b.is_ascii_digit()
                    || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
            })
    })
}

/// A provider's address: https anywhere, plain http only where it cannot leave the private network.
#[must_use]
pub fn is_base_url(url: &str) -> bool {
    let clean = url
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'@' | b'\\'));
    let host_of = |rest: &str| {
        let authority = rest.split('/').next().unwrap_or_default().to_owned();
        match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default().to_owned(),
            None => authority.split(':').next().unwrap_or_default().to_owned(),
        }
    };
    if !clean {
        return false;
    }
    if let Some(rest) = url.strip_prefix("https://") {
        return !host_of(rest).is_empty();
    }
    url.strip_prefix("http://")
        .is_some_and(|rest| is_private_host(&host_of(rest)))
}

fn is_private_host(host: &str) -> bool {
    if host == "localhost"
        || host.ends_with(".localhost")
        || host.ends_with(".internal")
        || host.ends_with(".local")
    {
        return true;
    }
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(std::net::IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => false,
    }
}

pub(super) fn is_cidr(text: &str) -> bool {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<std::net::IpAddr>() else {
        return false;
    };
    let widest = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|p| p.parse::<u8>().is_ok_and(|p| p <= widest))
}

/// A day of the Gregorian calendar as RFC 3339's `full-date`.
pub(super) fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let formed = bytes.len() == 10
        && bytes.iter().enumerate().all(|(i, b)| match i {
            4 | 7 => *b == b'-',
            _ => b.is_ascii_digit(),
        });
    let mut fields = text.split('-').map(|field| field.parse::<u32>().ok());
    let (Some(Some(year)), Some(Some(month)), Some(Some(day))) =
        (fields.next(), fields.next(), fields.next())
    else {
        return false;
    };
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let longest = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    };
    formed && (1..=longest).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::{is_base_url, is_cidr, is_date, is_origin};

    #[test]
    fn dates_are_days_that_there_are() {
        for good in ["2026-10-07", "2024-02-29", "2000-02-29", "2026-12-31"] {
            assert!(is_date(good), "{good}");
        }
        for bad in [
            "",
            "2026-1-07",
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-04-31",
            "2026-04-00",
            "2026/04/01",
            "2026-04-01T00",
            "+026-04-01",
            "20260401",
        ] {
            assert!(!is_date(bad), "{bad}");
        }
    }

    #[test]
    fn base_urls_are_https_or_stay_at_home() {
        for url in [
            "https://api.openai.com/v1",
            "http://127.0.0.1:11434/v1",
            "http://localhost:8080",
            "http://[::1]:8080/v1",
            "http://10.1.2.3/v1",
        ] {
            assert!(is_base_url(url), "{url}");
        }
        for url in [
            "http://api.openai.com/v1",
            "https://user@host/v1",
            "https:///v1",
            "ftp://x",
            "https://x/v1?key=1",
            "http://127.0.0.1.evil.example/v1",
        ] {
            assert!(!is_base_url(url), "{url}");
        }
    }

    #[test]
    fn origins_have_no_path() {
        assert!(is_origin("https://example.org"));
        assert!(is_origin("http://localhost:3000"));
        for bad in [
            "https://example.org/",
            "example.org",
            "https://",
            "*",
            "null",
            "https://Example.org",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn cidr_blocks() {
        assert!(is_cidr("192.0.2.0/24") && is_cidr("2001:db8::/32") && is_cidr("192.0.2.1"));
        assert!(!is_cidr("192.0.2.0/33") && !is_cidr("x/8") && !is_cidr("192.0.2.0/"));
    }
}
