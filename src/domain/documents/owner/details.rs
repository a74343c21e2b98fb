//! What is known of a document beside its content, changed in one step each: labels, dates, shares, holds, comments.

use serde::{Deserialize, Serialize};

use super::{Effects, OwnerDocuments, Reply, Row, Who};
use crate::base::machine::Write;
use crate::base::time::Millis;
use crate::domain::documents::about::{About, Grantee, Hold, MAX_SHARES, Right, Share};
use crate::domain::documents::manifest::{Document, version_row};
use crate::domain::documents::scan::state::Scanned;

/// Most comments of a document.
pub const MAX_COMMENTS: usize = 200;

/// A comment beside a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// `comment_<32 hex digits>`
    pub id: String,
    /// The principal who wrote it; `None` for who is known by nothing but a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When.
    pub created: Millis,
    /// Its text, sealed under the document's data key.
    pub sealed: String,
    /// The version that it was written beside, which is also the one whose key seals it.
    pub version: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Ask {
    /// Labels and dates change; what is `None` stays.
    Change {
        /// Cleaned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filename: Option<String>,
        /// Sorted, each once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tags: Option<Vec<String>>,
        /// The new expiry.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Millis>,
        /// The new date before which it stays: never an earlier one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep_until: Option<Millis>,
    },
    /// It is shared.
    Share {
        /// How.
        share: Share,
    },
    /// A share ends.
    Unshare {
        /// Which.
        id: String,
    },
    /// An operator holds it, or lets it go.
    Hold {
        /// The order; `None` ends it.
        hold: Option<Hold>,
    },
    /// A version was scanned.
    Scanned {
        /// Which.
        version: u32,
        /// What was found.
        scanned: Box<Scanned>,
    },
    /// An operator lets a version go that was held back.
    Release {
        /// Which.
        version: u32,
        /// Who.
        by: String,
        /// When.
        at: Millis,
    },
    /// An earlier version goes.
    RemoveVersion {
        /// Which.
        version: u32,
    },
    /// Somebody comments on it.
    Comment {
        /// All of it.
        comment: Comment,
    },
    /// The comments, the oldest first.
    Comments,
    /// A comment goes: the document's owner may remove each, everybody else their own.
    RemoveComment {
        /// Which.
        id: String,
    },
}

impl Ask {
    /// What it takes.
    const fn wanted(&self) -> Right {
        match self {
            Self::Comments => Right::View,
            Self::Comment { .. } | Self::RemoveComment { .. } => Right::Comment,
            Self::Change {
                expires: None,
                keep_until: None,
                ..
            } => Right::Edit,
            Self::Change { .. }
            | Self::Share { .. }
            | Self::Unshare { .. }
            | Self::Hold { .. }
            | Self::Scanned { .. }
            | Self::Release { .. }
            | Self::RemoveVersion { .. } => Right::Own,
        }
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Told {
    /// The document as it is now.
    Document {
        /// All of it.
        document: Document,
        /// What they may do with it.
        right: Right,
    },
    /// The share that ended: where it is noted elsewhere may be forgotten, unless another one needs it.
    Unshared {
        /// The document as it is now.
        document: Document,
        /// What ended.
        share: Share,
    },
    /// The comments.
    Comments {
        /// The oldest first.
        comments: Vec<Comment>,
        /// All versions whose keys seal one of them, and the owner's key.
        documents: Vec<Document>,
        /// Sealed by the keyring.
        owner_key: Option<String>,
    },
    /// There is no such share, version or comment.
    Unknown,
    /// There are too many of them.
    TooMany,
}

const COMMENT_PREFIX: &str = "note/";

fn comment_key(document: &str, id: &str) -> String {
    format!("{COMMENT_PREFIX}{document}/{id}")
}

/// The comments of all documents of an owner.
pub(super) type Comments = std::collections::BTreeMap<String, Comment>;

/// Takes a row in that is a comment's.
pub(super) fn load(comments: &mut Comments, key: &str, value: &str) -> bool {
    let place = key.strip_prefix(COMMENT_PREFIX);
    match (place, serde_json::from_str(value)) {
        (Some(place), Ok(comment)) => {
            comments.insert(place.to_owned(), comment);
            true
        }
        _ => false,
    }
}

impl OwnerDocuments {
    pub(super) fn details(
        &mut self,
        now: Millis,
        id: &str,
        who: Option<&Who>,
        ask: Ask,
    ) -> (Reply, Effects) {
        let (document, right) = match self.reach(now, id, who, ask.wanted()) {
            Ok(reached) => reached,
            Err(told) => return *told,
        };
        let (told, effects) = match ask {
            Ask::Change {
                filename,
                tags,
                expires,
                keep_until,
            } => {
                let mut changed = document;
                changed.filename = filename.unwrap_or(changed.filename);
                changed.about.tags = tags.unwrap_or(changed.about.tags);
                changed.expires = expires.unwrap_or(changed.expires);
                changed.about.keep_until = changed.about.keep_until.max(keep_until);
                self.replaced(changed, right)
            }
            Ask::Share { share } => self.share(now, document, right, share),
            Ask::Unshare { id } => self.unshare(document, &id),
            Ask::Hold { hold } => {
                let mut changed = document;
                changed.about.hold = hold;
                let (told, effects) = self.replaced(changed.clone(), right);
                (told, effects.then(self.hold_versions(&changed)))
            }
            Ask::Scanned { version, scanned } => {
                let mut document = document;
                let mut effects = Effects::default();
                if scanned.state.is_held_back() && !document.about.held_back {
                    document.about.held_back = true;
                    effects = self.put(document.id.clone(), Row::Ready(document.clone()));
                }
                let (told, then) = self.with_version(document, right, version, |about| {
                    about.scan = Some(Box::new(scanned.after(about.scan.as_deref())));
                });
                (told, effects.then(then))
            }
            Ask::Release { version, by, at } => {
                self.with_version(document, right, version, |about| {
                    if let Some(scan) = &mut about.scan
                        && let Some(state) = scan.state.released(&by)
                    {
                        scan.state = state;
                        scan.at = at;
                    }
                })
            }
            Ask::RemoveVersion { version } => return self.remove_version(now, &document, version),
            Ask::Comment { comment } => self.comment(&document, right, comment),
            Ask::Comments => (self.comments_of(now, document), Effects::default()),
            Ask::RemoveComment { id } => {
                let by = who.map(|who| who.principal.clone());
                self.remove_comment(document, right, by, &id)
            }
        };
        let told = Box::new(told);
        (Reply::Details { told }, effects)
    }

    /// Changes what is known of a version. Who may read it may be others afterwards.
    fn with_version(
        &mut self,
        document: Document,
        right: Right,
        version: u32,
        change: impl FnOnce(&mut About),
    ) -> (Told, Effects) {
        let is_newest = document.version == version;
        let row = version_row(&document.id, version);
        let mut changed = match self.rows.get(&row) {
            _ if is_newest => document,
            Some(Row::Earlier(earlier)) => earlier.clone(),
            _ => return (Told::Unknown, Effects::default()),
        };
        let before = changed.about.state().clone();
        change(&mut changed.about);
        if before != *changed.about.state() {
            changed.about.epoch = changed.about.epoch.saturating_add(1);
        }
        if is_newest {
            return self.replaced(changed, right);
        }
        let effects = self.put(row, Row::Earlier(changed.clone()));
        (
            Told::Document {
                document: changed,
                right,
            },
            effects,
        )
    }

    fn replaced(&mut self, document: Document, right: Right) -> (Told, Effects) {
        let effects = self.put(document.id.clone(), Row::Ready(document.clone()));
        (Told::Document { document, right }, effects)
    }

    fn share(
        &mut self,
        now: Millis,
        mut document: Document,
        right: Right,
        share: Share,
    ) -> (Told, Effects) {
        let shares = &mut document.about.shares;
        if shares.contains(&share) {
            return (Told::Document { document, right }, Effects::default());
        }
        shares.retain(|known| known.expires.is_none_or(|expires| now < expires));
        // Who is named once more has the new right instead of the old one.
        shares.retain(|known| matches!(known.with, Grantee::Link(_)) || known.with != share.with);
        if shares.len() >= MAX_SHARES {
            return (Told::TooMany, Effects::default());
        }
        shares.push(share);
        document.about.epoch = document.about.epoch.saturating_add(1);
        self.replaced(document, right)
    }

    fn unshare(&mut self, mut document: Document, id: &str) -> (Told, Effects) {
        let mut gone = document.about.shares.extract_if(.., |share| share.id == id);
        let Some(share) = gone.next() else {
            return (Told::Unknown, Effects::default());
        };
        drop(gone);
        document.about.epoch = document.about.epoch.saturating_add(1);
        let effects = self.put(document.id.clone(), Row::Ready(document.clone()));
        (Told::Unshared { document, share }, effects)
    }

    /// The earlier versions are held with the newest.
    fn hold_versions(&mut self, document: &Document) -> Effects {
        let earlier = self.versions_of(&document.id).filter_map(|(key, row)| {
            let Row::Earlier(earlier) = row else {
                return None;
            };
            let mut earlier = earlier.clone();
            earlier.about.hold = document.about.hold.clone();
            Some((key.clone(), Row::Earlier(earlier)))
        });
        let earlier: Vec<(String, Row)> = earlier.collect();
        let mut effects = Effects::default();
        for (key, row) in earlier {
            effects = effects.then(self.put(key, row));
        }
        effects
    }

    fn remove_version(
        &mut self,
        now: Millis,
        document: &Document,
        version: u32,
    ) -> (Reply, Effects) {
        if document.about.is_kept(now) {
            let until = document.about.keep_until;
            let until = until.filter(|_| document.about.hold.is_none());
            return (Reply::Kept { until }, Effects::default());
        }
        let row = version_row(&document.id, version);
        self.remove(now, &row, |row| matches!(row, Row::Earlier(_)))
    }

    fn comment(&mut self, document: &Document, right: Right, comment: Comment) -> (Told, Effects) {
        let place = [&document.id, "/", &comment.id].concat();
        let known = self.comments.get(&place);
        if known.is_none() && self.comments_at(&document.id).count() >= MAX_COMMENTS {
            return (Told::TooMany, Effects::default());
        }
        let write = Write {
            key: comment_key(&document.id, &comment.id),
            value: serde_json::to_string(&comment).ok(),
        };
        self.comments.insert(place, comment);
        let document = document.clone();
        (
            Told::Document { document, right },
            Effects::default().and([write]),
        )
    }

    fn comments_of(&self, now: Millis, document: Document) -> Told {
        let comments: Vec<Comment> = self.comments_at(&document.id).cloned().collect();
        let earlier = self
            .versions_of(&document.id)
            .filter_map(|(_, row)| match row {
                Row::Earlier(earlier) if !row.is_over(now) => Some(earlier.clone()),
                _ => None,
            });
        let mut documents: Vec<Document> = earlier.collect();
        documents.push(document);
        documents.retain(|version| {
            comments
                .iter()
                .any(|comment| comment.version == version.version)
        });
        Told::Comments {
            comments,
            documents,
            owner_key: self.owner_key.clone(),
        }
    }

    fn remove_comment(
        &mut self,
        document: Document,
        right: Right,
        by: Option<Option<String>>,
        id: &str,
    ) -> (Told, Effects) {
        let place = [&document.id, "/", id].concat();
        // `None` is the document's owner; who is known by nothing has no comment of their own.
        let may = |comment: &Comment| match &by {
            None => true,
            Some(by) => by.is_some() && *by == comment.by,
        };
        if !self.comments.get(&place).is_some_and(may) {
            return (Told::Unknown, Effects::default());
        }
        self.comments.remove(&place);
        let write = Write {
            key: comment_key(&document.id, id),
            value: None,
        };
        (
            Told::Document { document, right },
            Effects::default().and([write]),
        )
    }

    fn comments_at(&self, document: &str) -> impl Iterator<Item = &Comment> {
        let prefix = [document, "/"].concat();
        let from = self.comments.range(prefix.clone()..);
        from.take_while(move |(place, _)| place.starts_with(&prefix))
            .map(|(_, comment)| comment)
    }

    /// The comments of a document go with it.
    pub(super) fn forget_comments(&mut self, document: &str) -> Vec<Write> {
        let ids: Vec<String> = self.comments_at(document).map(|c| c.id.clone()).collect();
        ids.into_iter()
            .map(|id| {
                self.comments.remove(&[document, "/", &id].concat());
                Write {
                    key: comment_key(document, &id),
                    value: None,
                }
            })
            .collect()
    }
}
