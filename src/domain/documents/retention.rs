//! How long documents are kept, and how long they must stay: by what they are for and whose they are.

use super::manifest::Purpose;
use crate::base::time::Millis;
use crate::domain::settings::config::Documents;

/// What decides.
#[derive(Clone, Copy, Debug)]
pub struct Kind<'a> {
    /// What the document is for.
    pub purpose: Purpose,
    /// The id of the principal that owns it.
    pub owner: &'a str,
    /// The owner's tier.
    pub tier: Option<&'a str>,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The longest that it is kept.
    pub ttl: Millis,
    /// So long nobody deletes it, its owner included.
    pub keep: Option<Millis>,
}

impl Retention {
    /// When a document is over that is stored now and of which a shorter lifetime may be wanted.
    #[must_use]
    pub fn expires(&self, now: Millis, wanted: Option<Millis>) -> Millis {
        now.plus(wanted.map_or(self.ttl, |wanted| wanted.min(self.ttl)))
    }

    /// Before when it must stay, where a date may be said as well: the later one.
    #[must_use]
    pub fn keep_until(&self, now: Millis, said: Option<Millis>) -> Option<Millis> {
        self.keep.map(|keep| now.plus(keep)).max(said)
    }
}

/// The first class of `[[documents.retention]]` that fits; where none does, `ttl_seconds` counts.
#[must_use]
pub fn retention(policy: &Documents, kind: Kind<'_>) -> Retention {
    let group = if kind.owner.starts_with("key_") {
        "key"
    } else {
        "visitor"
    };
    let is_of = |of: &str| match of.strip_prefix("tier:") {
        Some(tier) => kind.tier == Some(tier),
        None => of == group,
    };
    let found = policy.retention.iter().find(|class| {
        let purpose = class.purpose.as_deref();
        purpose.is_none_or(|purpose| purpose == kind.purpose.as_str())
            && class.of.as_deref().is_none_or(is_of)
    });
    match found {
        None => Retention {
            ttl: Millis::from_secs(policy.ttl_seconds),
            keep: None,
        },
        Some(class) => Retention {
            ttl: Millis::from_secs(class.ttl_seconds),
            keep: Some(class.keep_seconds)
                .filter(|seconds| *seconds > 0)
                .map(Millis::from_secs),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Retention, retention};
    use crate::base::time::Millis;
    use crate::domain::documents::manifest::Purpose;
    use crate::domain::settings::config::{Documents, RetentionClass};

    #[test]
    fn the_first_class_that_fits_decides() {
        let class =
            |purpose: Option<&str>, of: Option<&str>, ttl_seconds, keep_seconds| RetentionClass {
                purpose: purpose.map(str::to_owned),
                of: of.map(str::to_owned),
                ttl_seconds,
                keep_seconds,
            };
        let policy = Documents {
            ttl_seconds: 9,
            retention: vec![
                class(Some("batch"), None, 1, 0),
                class(None, Some("tier:gold"), 2, 1),
                class(None, Some("key"), 3, 0),
                class(Some("vision"), Some("visitor"), 4, 4),
            ],
            ..Documents::default()
        };
        let kept = |purpose, owner, tier| {
            let Retention { ttl, keep } = retention(
                &policy,
                Kind {
                    purpose,
                    owner,
                    tier,
                },
            );
            (ttl.secs(), keep.map(Millis::secs))
        };
        for (purpose, owner, tier, expected) in [
            (Purpose::Batch, "key_1", Some("gold"), (1, None)),
            (Purpose::Evals, "key_1", Some("gold"), (2, Some(1))),
            (Purpose::Evals, "key_1", Some("free"), (3, None)),
            (Purpose::Vision, "vis_1", None, (4, Some(4))),
            (Purpose::Vision, "key_1", None, (3, None)),
            (Purpose::Evals, "vis_1", None, (9, None)),
        ] {
            assert_eq!(kept(purpose, owner, tier), expected, "{purpose:?} {owner}");
        }
    }
}
