//! Who may do what with a document: the one place that decides.
//!
//! An owner may do everything. Everybody else has the highest right of the shares that name them and are not over; who
//! has none learns nothing, not even that there is a document.

use serde::{Deserialize, Serialize};

use super::about::{Grantee, Link, Right};
use super::manifest::Document;
use crate::base::digest::constant_time_eq;
use crate::base::time::Millis;

/// Wrong passphrases of a link before it answers nobody for a while, and for how long: 10 in 15 min × 60 s. A passphrase
/// of four random words (51 bits) lasts 6 × 10⁹ years of that.
pub const MAX_WRONG: u32 = 10;
/// As [`MAX_WRONG`].
pub const WRONG_WINDOW: Millis = Millis::from_secs(900);

/// Who asks for somebody else's document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// By which id they own documents; `None` for who is known by nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The roles that they are in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The link that they show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Shown>,
}

/// A link that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// SHA-256 of its secret, 64 hex digits.
    pub digest: String,
    /// The keyed digest of the passphrase that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
}

/// What somebody may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// That.
    May(Right),
    /// Nothing: for them there is no such document.
    Nothing,
    /// The link has a passphrase, which was not given.
    Passphrase,
    /// It was given and is not right.
    Wrong {
        /// The share.
        share: String,
    },
    /// Too many were wrong.
    Locked {
        /// For so long.
        wait: Millis,
    },
}

/// What they may do with the document.
#[must_use]
pub fn access(now: Millis, document: &Document, who: &Who) -> Access {
    let lives = |expires: Option<Millis>| expires.is_none_or(|expires| now < expires);
    let shares = document.about.shares.iter();
    let shares = shares.filter(|share| lives(share.expires));
    let mut best: Option<Right> = None;
    let mut by_link = Access::Nothing;
    for share in shares {
        let right = match &share.with {
            Grantee::Principal(id) => (who.principal.as_ref() == Some(id)).then_some(share.right),
            Grantee::Role(role) => who.roles.contains(role).then_some(share.right),
            Grantee::Public => Some(share.right),
            Grantee::Link(link) => match who.link.as_ref().map(|shown| opens(now, link, shown)) {
                None | Some(Opened::OtherLink) => None,
                Some(Opened::Yes) => Some(share.right),
                Some(Opened::No(why)) => {
                    by_link = match why {
                        Access::Wrong { .. } => Access::Wrong {
                            share: share.id.clone(),
                        },
                        why => why,
                    };
                    None
                }
            },
        };
        best = best.max(right);
    }
    best.map_or(by_link, Access::May)
}

enum Opened {
    Yes,
    No(Access),
    OtherLink,
}

fn opens(now: Millis, link: &Link, shown: &Shown) -> Opened {
    if !same(&link.digest, &shown.digest) {
        return Opened::OtherLink;
    }
    let Some(passphrase) = &link.passphrase else {
        return Opened::Yes;
    };
    if let Some(since) = link.failing_since
        && link.failed >= MAX_WRONG
        && now < since.plus(WRONG_WINDOW)
    {
        let wait = since.plus(WRONG_WINDOW).since(now);
        return Opened::No(Access::Locked { wait });
    }
    match &shown.passphrase {
        None => Opened::No(Access::Passphrase),
        Some(given) if same(passphrase, given) => Opened::Yes,
        Some(_) => Opened::No(Access::Wrong {
            share: String::new(),
        }),
    }
}

/// A wrong passphrase was given.
pub fn count_wrong(now: Millis, link: &mut Link) {
    let over = link
        .failing_since
        .is_none_or(|since| since.plus(WRONG_WINDOW) <= now);
    if over {
        link.failed = 0;
        link.failing_since = Some(now);
    }
    link.failed = link.failed.saturating_add(1);
}

fn same(a: &str, b: &str) -> bool {
    constant_time_eq(a.as_bytes(), b.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Access, MAX_WRONG, Shown, WRONG_WINDOW, Who, access, count_wrong};
    use crate::base::time::Millis;
    use crate::domain::documents::about::{Grantee, Link, Right, Share};
    use crate::domain::documents::manifest::Document;
    use crate::domain::documents::manifest::tests::document;

    fn shared(with: &[(Grantee, Right, Option<u64>)]) -> Document {
        let mut shared = document("file_1", &[1]);
        shared.about.shares = with
            .iter()
            .zip(1..)
            .map(|((with, right, expires), number)| Share {
                id: format!("share_{number}"),
                with: with.clone(),
                right: *right,
                created: Millis(0),
                expires: expires.map(Millis),
            })
            .collect();
        shared
    }

    fn who(principal: &str, roles: &[&str]) -> Who {
        Who {
            principal: Some(principal.into()),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            link: None,
        }
    }

    fn link(digest: &str, passphrase: Option<&str>) -> Grantee {
        Grantee::Link(Link {
            digest: digest.into(),
            passphrase: passphrase.map(str::to_owned),
            failed: 0,
            failing_since: None,
        })
    }

    fn showing(digest: &str, passphrase: Option<&str>) -> Who {
        Who {
            link: Some(Shown {
                digest: digest.into(),
                passphrase: passphrase.map(str::to_owned),
            }),
            ..Who::default()
        }
    }

    #[test]
    fn who_is_not_named_has_no_right() {
        let nobody = shared(&[]);
        let principal = shared(&[(Grantee::Principal("vis_2".into()), Right::View, None)]);
        let role = shared(&[(Grantee::Role("key".into()), Right::View, None)]);
        let by_link = shared(&[(link("d", None), Right::View, None)]);
        for document in [&nobody, &principal, &role, &by_link] {
            for who in [
                Who::default(),
                who("vis_3", &[]),
                who("vis_3", &["visitor"]),
                showing("e", None),
                showing("", None),
            ] {
                assert_eq!(access(Millis(0), document, &who), Access::Nothing);
            }
        }
    }

    #[test]
    fn the_highest_right_that_is_not_over_counts() {
        let document = shared(&[
            (Grantee::Public, Right::View, None),
            (Grantee::Principal("vis_2".into()), Right::Edit, Some(10)),
            (Grantee::Role("visitor".into()), Right::Comment, Some(20)),
        ]);
        let may = |now, who: &Who| access(Millis(now), &document, who);
        let second = who("vis_2", &["visitor"]);
        assert_eq!(may(9, &second), Access::May(Right::Edit));
        assert_eq!(may(10, &second), Access::May(Right::Comment));
        assert_eq!(may(20, &second), Access::May(Right::View));
        assert_eq!(may(0, &who("vis_3", &[])), Access::May(Right::View));
    }

    #[test]
    fn a_link_opens_with_its_secret_and_its_passphrase() {
        let document = shared(&[
            (link("d", Some("p")), Right::Comment, None),
            (link("e", None), Right::View, None),
        ]);
        let may = |who: &Who| access(Millis(0), &document, who);
        assert_eq!(may(&showing("e", None)), Access::May(Right::View));
        assert_eq!(may(&showing("e", Some("x"))), Access::May(Right::View));
        assert_eq!(may(&showing("d", None)), Access::Passphrase);
        assert_eq!(
            may(&showing("d", Some("p"))),
            Access::May(Right::Comment),
            "with the passphrase"
        );
        let wrong = Access::Wrong {
            share: "share_1".into(),
        };
        for passphrase in ["", "q", "pp"] {
            assert_eq!(may(&showing("d", Some(passphrase))), wrong);
        }
    }

    #[test]
    fn a_link_is_closed_for_a_while_after_too_many_wrong_passphrases() {
        let mut document = shared(&[(link("d", Some("p")), Right::View, None)]);
        let wrong = |document: &mut Document, now| {
            if let Grantee::Link(link) = &mut document.about.shares[0].with {
                count_wrong(Millis(now), link);
            }
        };
        let right = showing("d", Some("p"));
        for _ in 1..MAX_WRONG {
            wrong(&mut document, 0);
        }
        assert_eq!(
            access(Millis(1), &document, &right),
            Access::May(Right::View)
        );
        wrong(&mut document, 1);
        let wait = Millis(WRONG_WINDOW.0 - 1);
        assert_eq!(
            access(Millis(1), &document, &right),
            Access::Locked { wait }
        );
        assert_eq!(
            access(Millis(1), &document, &showing("d", None)),
            Access::Locked { wait }
        );
        assert_eq!(
            access(WRONG_WINDOW, &document, &right),
            Access::May(Right::View)
        );
        // And from there on they are counted anew.
        wrong(&mut document, WRONG_WINDOW.0);
        assert_eq!(
            access(WRONG_WINDOW, &document, &right),
            Access::May(Right::View)
        );
    }
}
