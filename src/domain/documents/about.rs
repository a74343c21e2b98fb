//! What is known of a document beside its content: where it came from, how it is labelled, how long it must stay, and
//! with whom it is shared.

use serde::{Deserialize, Serialize};

use super::scan::state::{Scanned, State};
use crate::base::time::Millis;

/// Most tags of a document, and the longest one in bytes: enough to sort by, too little to keep texts in.
pub const MAX_TAGS: usize = 16;
/// As [`MAX_TAGS`].
pub const MAX_TAG_BYTES: usize = 64;

/// Most documents that one may be derived from.
pub const MAX_SOURCES: usize = 32;

/// Most shares of a document at a time.
pub const MAX_SHARES: usize = 64;

/// What is known of a document. Rows that were stored before there was any of it read as the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Labels of the owner's, sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Where this version came from.
    #[serde(default, skip_serializing_if = "Provenance::is_unknown")]
    pub provenance: Provenance,
    /// Before this date nobody deletes it, its owner included; it does not expire before either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_until: Option<Millis>,
    /// An operator's order that it stays, whoever asks for its deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Who may do what with it, beside its owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<Share>,
    /// Adds one whenever somebody may do more or less with it than before: what was derived from it under another number
    /// is stale.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epoch: u64,
    /// What the scan of this version found; `None` while it was not scanned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<Box<Scanned>>,
    /// A version of it was held back once, and it is noted where operators look for that.
    #[serde(default, skip_serializing_if = "is_not")]
    pub held_back: bool,
}

impl About {
    /// Is there nothing to be known?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What its scan allows.
    #[must_use]
    pub fn state(&self) -> &State {
        self.scan
            .as_deref()
            .map_or(&State::Waiting, |scanned| &scanned.state)
    }

    /// Must it still be there then?
    #[must_use]
    pub fn is_kept(&self, now: Millis) -> bool {
        self.hold.is_some() || self.keep_until.is_some_and(|until| now < until)
    }
}

const fn is_not(it: &bool) -> bool {
    !*it
}

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Where a version of a document came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// When this version was stored, where it is not the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Millis>,
    /// The principal who stored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The origin of the page that sent it; `None` for a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// How it came.
    #[serde(default, skip_serializing_if = "Way::is_upload")]
    pub way: Way,
    /// The ids of documents that it was made from, as whoever stored it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The program that made it, as whoever stored it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The model that made it, as whoever stored it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Provenance {
    /// Is nothing said?
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// How a document came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// In one form.
    #[default]
    Upload,
    /// In parts.
    Parts,
}

impl Way {
    const fn is_upload(&self) -> bool {
        matches!(self, Self::Upload)
    }
}

/// An operator's order that a document stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The operator's id.
    pub by: String,
    /// Since when.
    pub since: Millis,
    /// Which matter it is for, in the operator's words.
    pub reason: String,
}

/// What somebody may do with a document; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Read it.
    View,
    /// Write comments beside it.
    Comment,
    /// Store a new version of it, and read the earlier ones.
    Edit,
    /// All of it: it is theirs.
    Own,
}

impl Right {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Comment => "comment",
            Self::Edit => "edit",
            Self::Own => "own",
        }
    }

    /// The right of that name that can be given to somebody.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::View, Self::Comment, Self::Edit]
            .into_iter()
            .find(|right| right.as_str() == name)
    }
}

/// Somebody may do something with a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// `share_<32 hex digits>`
    pub id: String,
    /// Who.
    pub with: Grantee,
    /// What.
    pub right: Right,
    /// When it was given.
    pub created: Millis,
    /// Until when; `None` as long as the document is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Millis>,
}

/// With whom a document is shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grantee {
    /// One principal, by the id that it owns documents by.
    Principal(String),
    /// Everybody in that role.
    Role(String),
    /// Whoever has the link.
    Link(Link),
    /// Everybody who knows the document's id.
    Public,
}

/// What is known of a link: nothing that would open it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// SHA-256 of its secret, 64 hex digits.
    pub digest: String,
    /// The keyed digest of its passphrase, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
    /// Wrong passphrases since [`Link::failing_since`].
    #[serde(default, skip_serializing_if = "is_none_failed")]
    pub failed: u32,
    /// When the first of them came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Millis>,
}
const fn is_none_failed(failed: &u32) -> bool {
    *failed == 0
}

/// `share_<32 random hex digits>`
#[must_use]
pub fn share_id(random: &[u8; 16]) -> String {
    ["share_", &crate::base::digest::hex(random)].concat()
}

#[cfg(test)]
mod tests {
    use super::{About, Grantee, Hold, Link, Provenance, Right, Scanned, Share, State, Way};
    use crate::base::time::Millis;

    #[test]
    fn the_stored_form_is_pinned() {
        // A change here makes documents unreadable that were stored with it.
        let about = About {
            tags: vec!["a".into()],
            provenance: Provenance {
                at: Some(Millis(9)),
                by: Some("vis_1".into()),
                origin: Some("https://a.example".into()),
                way: Way::Parts,
                sources: vec!["file_1".into()],
                tool: Some("t".into()),
                model: Some("m".into()),
            },
            keep_until: Some(Millis(1)),
            hold: Some(Hold {
                by: "op_1".into(),
                since: Millis(2),
                reason: "r".into(),
            }),
            shares: vec![
                Share {
                    id: "share_1".into(),
                    with: Grantee::Principal("vis_2".into()),
                    right: Right::Comment,
                    created: Millis(3),
                    expires: Some(Millis(4)),
                },
                Share {
                    id: "share_2".into(),
                    with: Grantee::Link(Link {
                        digest: "d".into(),
                        passphrase: Some("p".into()),
                        failed: 1,
                        failing_since: Some(Millis(5)),
                    }),
                    right: Right::View,
                    created: Millis(6),
                    expires: None,
                },
                Share {
                    id: "share_3".into(),
                    with: Grantee::Public,
                    right: Right::Edit,
                    created: Millis(7),
                    expires: None,
                },
            ],
            epoch: 8,
            scan: Some(Box::new(Scanned {
                state: State::Quarantined { why: "w".into() },
                at: Millis(10),
                report: Some("s".into()),
            })),
            held_back: true,
        };
        let stored = r#"{"tags":["a"],"provenance":{"at":9,"by":"vis_1","origin":"https://a.example","way":"parts","sources":["file_1"],"tool":"t","model":"m"},"keep_until":1,"hold":{"by":"op_1","since":2,"reason":"r"},"shares":[{"id":"share_1","with":{"principal":"vis_2"},"right":"comment","created":3,"expires":4},{"id":"share_2","with":{"link":{"digest":"d","passphrase":"p","failed":1,"failing_since":5}},"right":"view","created":6},{"id":"share_3","with":"public","right":"edit","created":7}],"epoch":8,"scan":{"state":{"state":"quarantined","why":"w"},"at":10,"report":"s"},"held_back":true}"#;
        assert_eq!(serde_json::to_string(&about).unwrap(), stored);
        assert_eq!(serde_json::from_str::<About>(stored).unwrap(), about);
        // And of what was stored before there was any of it:
        assert_eq!(serde_json::to_string(&About::default()).unwrap(), "{}");
        assert_eq!(
            serde_json::from_str::<About>("{}").unwrap(),
            About::default()
        );
    }

    #[test]
    fn what_is_held_or_retained_is_kept() {
        let mut about = About::default();
        assert!(!about.is_kept(Millis(0)));
        about.keep_until = Some(Millis(5));
        assert!(about.is_kept(Millis(4)) && !about.is_kept(Millis(5)));
        about.hold = Some(Hold {
            by: "op_1".into(),
            since: Millis(0),
            reason: String::new(),
        });
        assert!(about.is_kept(Millis(u64::MAX)));
    }

    #[test]
    fn rights_have_an_order_and_a_name_each() {
        assert!(Right::View < Right::Comment && Right::Comment < Right::Edit);
        assert!(Right::Edit < Right::Own);
        for right in [Right::View, Right::Comment, Right::Edit] {
            assert_eq!(Right::from_name(right.as_str()), Some(right));
        }
        assert_eq!(Right::from_name("own"), None, "nobody gives that away");
    }
}
