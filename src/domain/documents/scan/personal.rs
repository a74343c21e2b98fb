//! Data about persons: e-mail addresses, telephone numbers, and numbers that a checksum or a form tells apart from
//! others. An address of the network is none.

use super::bytes::{holds, is_word, run};
use super::matched::Match;
use super::report::Rule;
use super::window::Spot;

// === e-mail ===

/// Longest local part and longest domain, in bytes (RFC 5321 §4.5.3.1).
const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 255;

/// Domains that are for examples and tests (RFC 2606, RFC 6761), and endings of files that an `@` stands in.
const NOBODYS: [&[u8]; 18] = [
    b"example",
    b"test",
    b"invalid",
    b"localhost",
    b"local",
    b"internal",
    b"png",
    b"jpg",
    b"jpeg",
    b"gif",
    b"svg",
    b"webp",
    b"avif",
    b"css",
    b"js",
    b"mjs",
    b"ts",
    b"json",
];

/// Finds an address around the `@` at the place.
pub(super) fn email(spot: &Spot<'_>) -> Option<Match> {
    let local = spot
        .behind
        .iter()
        .rev()
        .take_while(|b| is_word(**b) || matches!(b, b'.' | b'%' | b'+' | b'-'))
        .count();
    let rest = spot.rest.get(1..)?;
    let mut domain = rest.get(
        ..run(rest, |b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')
        }),
    )?;
    while let Some(shorter) = domain
        .strip_suffix(b".")
        .or_else(|| domain.strip_suffix(b"-"))
    {
        domain = shorter;
    }
    let start = spot.behind.len().checked_sub(local)?;
    let name = spot.behind.get(start..)?;
    let labels_are_whole = domain
        .split(|b| *b == b'.')
        .all(|label| (1..=63).contains(&label.len()) && label.first() != Some(&b'-'));
    let top = domain.rsplit(|b| *b == b'.').next()?;
    let second = domain.split(|b| *b == b'.').rev().nth(1)?;
    let is_address = (1..=MAX_LOCAL).contains(&local)
        && name.first().is_some_and(|b| *b != b'.' && *b != b'-')
        && name.last() != Some(&b'.')
        && domain.len() <= MAX_DOMAIN
        && labels_are_whole
        && (2..=24).contains(&top.len())
        && top.iter().all(u8::is_ascii_alphabetic)
        && !NOBODYS.iter().any(|nobody| top.eq_ignore_ascii_case(nobody))
        && !second.eq_ignore_ascii_case(b"example")
        // `git@host.tld:path` names a repository, and `user:password@host` a server.
        && rest.get(domain.len()) != Some(&b':')
        && name != b"git"
        && !in_address(spot.behind);
    if !is_address {
        return None;
    }
    let letter = |of: &[u8]| of.first().map_or('·', |b| char::from(*b));
    let excerpt = format!(
        "{}…@{}….{}",
        letter(name),
        letter(domain),
        String::from_utf8_lossy(top)
    );
    let length = domain.len().saturating_add(1);
    Some(Match::new(Rule::Email, length, excerpt).from(local))
}

/// Does `scheme://` stand before, without a blank between? Then the `@` ends a user of a server.
fn in_address(behind: &[u8]) -> bool {
    let word = behind
        .iter()
        .rev()
        .take_while(|b| !b.is_ascii_whitespace())
        .count();
    let start = behind.len().saturating_sub(word);
    behind.get(start..).is_some_and(|word| holds(word, b"://"))
}

// === numbers ===

/// Digits with single separators between them, from the place on.
struct Digits {
    digits: Vec<u8>,
    /// Where each group begins, counted in digits.
    groups: Vec<usize>,
    /// Bytes that they take.
    length: usize,
    /// The separators that were used.
    spaced: bool,
}

/// Most digits that any of these numbers has.
const MAX_DIGITS: usize = 19;

fn digits(bytes: &[u8], separators: &[u8]) -> Option<Digits> {
    let mut read = Digits {
        digits: Vec::with_capacity(MAX_DIGITS),
        groups: vec![0],
        length: 0,
        spaced: false,
    };
    let mut at = 0_usize;
    let mut gap = 0_usize;
    while let Some(byte) = bytes.get(at) {
        if byte.is_ascii_digit() {
            if gap > 0 {
                read.spaced = true;
                read.groups.push(read.digits.len());
                gap = 0;
            }
            if read.digits.len() == MAX_DIGITS {
                return None;
            }
            read.digits.push(*byte);
            read.length = at.saturating_add(1);
        } else if separators.contains(byte) && gap < 1 {
            gap = gap.saturating_add(1);
        } else {
            break;
        }
        at = at.saturating_add(1);
    }
    // What goes on is another thing.
    let next = bytes.get(read.length);
    let then = bytes.get(read.length.saturating_add(1));
    let goes_on = next.is_some_and(|b| is_word(*b))
        || (matches!(next, Some(b'.' | b'-' | b'/' | b':' | b','))
            && then.is_some_and(u8::is_ascii_digit));
    (!goes_on).then_some(read)
}

/// Does a number that begins here stand by itself?
fn stands_alone(spot: &Spot<'_>) -> bool {
    let Some(last) = spot.last() else { return true };
    let before = spot
        .behind
        .len()
        .checked_sub(2)
        .and_then(|at| spot.behind.get(at));
    !(is_word(last)
        || matches!(last, b'+' | b'$' | b'#' | b'%' | b'/' | b'=' | b'@' | b'&')
        || (matches!(last, b'.' | b'-' | b':' | b',')
            && before.is_some_and(u8::is_ascii_alphanumeric)))
}

/// Finds a number of a person that begins with the digit at the place.
pub(super) fn number(spot: &Spot<'_>) -> Option<Match> {
    if !stands_alone(spot) {
        return None;
    }
    us_ssn(spot)
        .or_else(|| cn_resident_id(spot))
        .or_else(|| payment_card(spot))
        .or_else(|| local_phone(spot))
}

/// Payment cards: the first digits and lengths of the schemes, groups as on a card, and the check digit (ISO/IEC
/// 7812-1 annex B, "Luhn").
fn payment_card(spot: &Spot<'_>) -> Option<Match> {
    let read = digits(spot.rest, b" -")?;
    let long = read.digits.len();
    let head = |count: usize| {
        read.digits.iter().take(count).fold(0_u32, |sum, b| {
            sum.saturating_mul(10)
                .saturating_add(u32::from(b.saturating_sub(b'0')))
        })
    };
    let of_a_scheme = match head(1) {
        4 => matches!(long, 13 | 16 | 19),
        5 => matches!(head(2), 51..=55) && long == 16,
        2 => matches!(head(4), 2221..=2720) && long == 16,
        3 => match head(2) {
            34 | 37 => long == 15,
            35 => matches!(head(4), 3528..=3589) && long >= 16,
            36 | 38 | 39 => long == 14,
            30 => matches!(head(3), 300..=305) && long == 14,
            _ => false,
        },
        6 => match head(2) {
            62 | 65 => long >= 16,
            _ => (head(4) == 6011 || matches!(head(3), 644..=649)) && long >= 16,
        },
        _ => false,
    };
    let grouped = !read.spaced || groups_of_a_card(&read);
    let first = read.digits.first()?;
    let same = read.digits.iter().filter(|b| *b == first).count();
    if !of_a_scheme || !grouped || !luhn(&read.digits) || same.saturating_add(2) >= long {
        return None;
    }
    let last = read.digits.get(long.saturating_sub(4)..)?;
    let excerpt = format!("… {}", String::from_utf8_lossy(last));
    Some(Match::new(Rule::PaymentCard, read.length, excerpt))
}

/// Groups of four, the last one shorter or longer; or four, six and the rest.
fn groups_of_a_card(read: &Digits) -> bool {
    let fours = read
        .groups
        .iter()
        .enumerate()
        .all(|(i, start)| *start == i.saturating_mul(4));
    fours && read.groups.len() >= 4 || read.groups == [0, 4, 10]
}

fn luhn(digits: &[u8]) -> bool {
    let sum = digits.iter().rev().enumerate().fold(0_u32, |sum, (i, b)| {
        let digit = u32::from(b.saturating_sub(b'0'));
        let doubled = if i % 2 == 1 {
            digit.saturating_mul(2)
        } else {
            digit
        };
        sum.saturating_add(if doubled > 9 {
            doubled.saturating_sub(9)
        } else {
            doubled
        })
    });
    sum % 10 == 0
}

/// Social security numbers as they are written, `AAA-GG-SSSS`, without those that are never given (SSA, "Randomization")
/// and those that stood in advertisements.
fn us_ssn(spot: &Spot<'_>) -> Option<Match> {
    const LENGTH: usize = 11;
    const KNOWN: [&[u8]; 3] = [b"078-05-1120", b"219-09-9999", b"123-45-6789"];
    let text = spot.rest.get(..LENGTH)?;
    let written = text.iter().enumerate().all(|(i, b)| match i {
        3 | 6 => *b == b'-',
        _ => b.is_ascii_digit(),
    });
    let (area, group, serial) = (text.get(..3)?, text.get(4..6)?, text.get(7..)?);
    let given = area != b"000"
        && area != b"666"
        && area.first() != Some(&b'9')
        && group != b"00"
        && serial != b"0000";
    let ends = spot.ahead(LENGTH).is_none_or(|b| !is_word(b) && b != b'-');
    (written && given && ends && !KNOWN.contains(&text))
        .then(|| Match::new(Rule::UsSsn, LENGTH, "•••-••-••••".to_owned()))
}

/// Eighteen digits, the last perhaps an X: region, date of birth, sequence, check character (GB 11643, ISO 7064 MOD
/// 11-2).
fn cn_resident_id(spot: &Spot<'_>) -> Option<Match> {
    const LENGTH: usize = 18;
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    const CHECKS: &[u8; 11] = b"10X98765432";
    let text = spot.rest.get(..LENGTH)?;
    let (body, check) = text.split_at_checked(LENGTH.checked_sub(1)?)?;
    if !body.iter().all(u8::is_ascii_digit) || spot.ahead(LENGTH).is_some_and(is_word) {
        return None;
    }
    let number = |from: usize, to: usize| -> u32 {
        body.get(from..to)
            .unwrap_or_default()
            .iter()
            .fold(0, |sum: u32, b| {
                sum.saturating_mul(10)
                    .saturating_add(u32::from(b.saturating_sub(b'0')))
            })
    };
    let region = matches!(number(0, 2), 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83 | 91);
    let date = matches!(number(6, 10), 1900..=2099)
        && matches!(number(10, 12), 1..=12)
        && matches!(number(12, 14), 1..=31);
    let sum = body.iter().zip(WEIGHTS).fold(0_u32, |sum, (b, weight)| {
        sum.saturating_add(u32::from(b.saturating_sub(b'0')).saturating_mul(weight))
    });
    let expected = usize::try_from(sum % 11)
        .ok()
        .and_then(|at| CHECKS.get(at))?;
    let checks = check
        .first()
        .is_some_and(|c| c.to_ascii_uppercase() == *expected);
    (region && date && checks)
        .then(|| Match::new(Rule::CnResidentId, LENGTH, "••••••••••••••••••".to_owned()))
}

// === telephones ===

/// Words behind which digits are a telephone's number.
const PHONE_WORDS: [&str; 9] = [
    "phone", "tel", "mobile", "fax", "whatsapp", "call", "电话", "手机", "電話",
];

/// North American numbers as they are written there, and Chinese mobile ones where a word says so or where they are
/// grouped.
fn local_phone(spot: &Spot<'_>) -> Option<Match> {
    let read = digits(spot.rest, b" -.")?;
    let digit = |at: usize| read.digits.get(at).copied().unwrap_or(b'0');
    let told = || {
        PHONE_WORDS.iter().any(|word| {
            let near = spot.behind.len().saturating_sub(24);
            spot.behind
                .get(near..)
                .is_some_and(|near| holds(near, word.as_bytes()))
        })
    };
    let north_american = read.digits.len() == 10
        && read.groups == [0, 3, 6]
        && (b'2'..=b'9').contains(&digit(0))
        && (b'2'..=b'9').contains(&digit(3))
        // 555-0100 to 555-0199 are for films and examples.
        && read.digits.get(3..8) != Some(&b"55501"[..]);
    let chinese = read.digits.len() == 11
        && digit(0) == b'1'
        && (b'3'..=b'9').contains(&digit(1))
        && (read.groups == [0, 3, 7] || (!read.spaced && told()));
    (north_american || chinese).then(|| phone(&read.digits, read.length))
}

/// Finds an international number that begins with the `+` at the place (ITU-T E.164).
pub(super) fn international_phone(spot: &Spot<'_>) -> Option<Match> {
    if spot
        .last()
        .is_some_and(|b| is_word(b) || matches!(b, b'+' | b'.' | b'/' | b'=' | b')'))
    {
        return None;
    }
    let rest = spot.rest.get(1..)?;
    // `+1 (212) 555…`: brackets are as good as blanks.
    let plain: Vec<u8> = rest
        .iter()
        .take(28)
        .map(|b| if matches!(b, b'(' | b')') { b' ' } else { *b })
        .collect();
    let mut single = Vec::with_capacity(plain.len());
    let mut dropped = 0_usize;
    for byte in &plain {
        if *byte == b' ' && single.last() == Some(&b' ') {
            dropped = dropped.saturating_add(1);
        } else {
            single.push(*byte);
        }
    }
    let read = digits(&single, b" -.")?;
    let first = read.digits.first()?;
    let long = read.digits.len();
    let is_number = *first != b'0' && (9..=15).contains(&long) && (read.spaced || long >= 11);
    let zeros = read.digits.iter().filter(|b| **b == b'0').count();
    // A round number is a number; examples have 555 01.
    let made_up =
        zeros.saturating_mul(2) > long || read.digits.windows(5).any(|five| five == b"55501");
    (is_number && !made_up).then(|| {
        let length = read.length.saturating_add(dropped).saturating_add(1);
        phone(&read.digits, length)
    })
}

/// Finds `(212) 555-2368`, whose bracket is at the place.
pub(super) fn bracketed_phone(spot: &Spot<'_>) -> Option<Match> {
    let text = spot.rest.get(..14)?;
    let form = text
        .iter()
        .zip(b"(ddd) ddd-dddd")
        .all(|(b, form)| match form {
            b'd' => b.is_ascii_digit(),
            other => b == other,
        });
    let number: Vec<u8> = text.iter().copied().filter(u8::is_ascii_digit).collect();
    let given = number.first().is_some_and(|b| (b'2'..=b'9').contains(b))
        && number.get(3).is_some_and(|b| (b'2'..=b'9').contains(b))
        && number.get(3..8) != Some(&b"55501"[..]);
    let ends = spot.ahead(14).is_none_or(|b| !is_word(b) && b != b'-');
    (form && given && ends).then(|| phone(&number, 14))
}

fn phone(digits: &[u8], length: usize) -> Match {
    let last = digits.get(digits.len().saturating_sub(2)..);
    let excerpt = format!("… {}", String::from_utf8_lossy(last.unwrap_or_default()));
    Match::new(Rule::Phone, length, excerpt)
}

// === bank accounts ===

/// Lengths of the countries' account numbers (SWIFT, "IBAN registry").
const IBAN_LENGTHS: &[u8] = b"AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";

/// Finds an account number that begins at the place: country, check digits, account, in one piece or in groups of four;
/// the remainder by 97 is 1 (ISO 7064 MOD 97-10).
pub(super) fn iban(spot: &Spot<'_>) -> Option<Match> {
    let head = spot.rest.get(..4)?;
    let (country, check) = head.split_at_checked(2)?;
    if !country.iter().all(u8::is_ascii_uppercase) || !check.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = IBAN_LENGTHS.chunks(4).find_map(|row| {
        let digits = str::from_utf8(row.strip_prefix(country)?).ok()?;
        digits.parse::<usize>().ok()
    })?;
    let mut account = Vec::with_capacity(length);
    let mut used = 0_usize;
    for byte in spot.rest {
        if account.len() == length {
            break;
        }
        let at_group = account.len() % 4 == 0 && !account.is_empty();
        match byte {
            b'A'..=b'Z' | b'0'..=b'9' => account.push(*byte),
            b' ' if at_group
                && account.last().is_some()
                && spot.rest.get(used.saturating_sub(1)) != Some(&b' ') => {}
            _ => return None,
        }
        used = used.saturating_add(1);
    }
    let ends = spot.rest.get(used).is_none_or(|b| !is_word(*b));
    if account.len() != length || !ends {
        return None;
    }
    let turned = account.iter().skip(4).chain(account.iter().take(4));
    let remainder = turned.fold(0_u32, |sum, b| {
        let (value, shift) = if b.is_ascii_digit() {
            (u32::from(b.saturating_sub(b'0')), 10)
        } else {
            (u32::from(b.saturating_sub(b'A')).saturating_add(10), 100)
        };
        sum.saturating_mul(shift).saturating_add(value) % 97
    });
    (remainder == 1).then(|| {
        let excerpt = format!(
            "{}… {}",
            String::from_utf8_lossy(country),
            String::from_utf8_lossy(account.get(length.saturating_sub(2)..).unwrap_or_default())
        );
        Match::new(Rule::Iban, used, excerpt)
    })
}
