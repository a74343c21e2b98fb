//! Access review: who may do what, since when, and whether they still use it.

use serde_json::{Value, json};

use super::export::csv_line;
use crate::base::time::Millis;

/// Unused for so long, access is worth a question: 90 days (90 × 86,400 s).
pub const UNUSED_AFTER: Millis = Millis::from_secs(7_776_000);

/// Somebody or something with access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// `operator` or `key`.
    pub kind: &'static str,
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// A role, or scopes.
    pub rights: Vec<String>,
    /// Since when.
    pub created: Millis,
    /// Until when.
    pub expires: Option<Millis>,
    /// Used last.
    pub used: Option<Millis>,
    /// Taken away already.
    pub revoked: bool,
    /// The widest rights there are: every scope, or the owner's role.
    pub unbounded: bool,
    /// An operator without a second factor.
    pub single_factor: bool,
}

/// A line of the review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Who or what.
    pub access: Access,
    /// What to ask about, in fixed words.
    pub questions: Vec<&'static str>,
}

/// The review: those with questions first, the most first, then by kind and id.
#[must_use]
pub fn review(all: Vec<Access>, now: Millis) -> Vec<Finding> {
    let mut findings: Vec<Finding> = all
        .into_iter()
        .map(|access| Finding {
            questions: questions(&access, now),
            access,
        })
        .collect();
    findings.sort_by(|a, b| {
        let key = |f: &Finding| {
            (
                core::cmp::Reverse(f.questions.len()),
                f.access.kind,
                f.access.id.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    findings
}

fn questions(access: &Access, now: Millis) -> Vec<&'static str> {
    if access.revoked {
        return Vec::new();
    }
    let expired = access.expires.is_some_and(|at| at <= now);
    let unused = match access.used {
        None => now.since(access.created) >= UNUSED_AFTER,
        Some(used) => now.since(used) >= UNUSED_AFTER,
    };
    [
        (expired, "expired"),
        (unused, "unused"),
        (access.used.is_none(), "never_used"),
        (
            access.kind == "key" && access.expires.is_none(),
            "no_expiry",
        ),
        (access.unbounded, "unbounded"),
        (access.single_factor, "no_second_factor"),
    ]
    .into_iter()
    .filter_map(|(asked, word)| asked.then_some(word))
    .collect()
}

impl Finding {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let access = &self.access;
        let time = |at: Option<Millis>| at.map(Millis::rfc3339);
        json!({
            "kind": access.kind, "id": access.id, "name": access.name, "rights": access.rights,
            "created": access.created.rfc3339(), "expires": time(access.expires), "last_used": time(access.used),
            "revoked": access.revoked, "questions": self.questions,
        })
    }

    /// As a line of CSV: kind, id, name, rights, created, expires, last used, revoked, questions.
    #[must_use]
    pub fn csv(&self) -> String {
        let access = &self.access;
        let time = |at: Option<Millis>| at.map(Millis::rfc3339).unwrap_or_default();
        csv_line([
            access.kind.to_owned(),
            access.id.clone(),
            access.name.clone(),
            access.rights.join(" "),
            access.created.rfc3339(),
            time(access.expires),
            time(access.used),
            access.revoked.to_string(),
            self.questions.join(" "),
        ])
    }
}

/// The head of the CSV.
#[must_use]
pub fn csv_head() -> String {
    let names = [
        "kind",
        "id",
        "name",
        "rights",
        "created",
        "expires",
        "last_used",
        "revoked",
        "questions",
    ];
    csv_line(names.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::{Access, UNUSED_AFTER, review};
    use crate::base::time::Millis;

    #[test]
    fn questions_are_asked_of_access_that_is_left() {
        let now = UNUSED_AFTER.plus(Millis(1000));
        let key = |id: &str| Access {
            kind: "key",
            id: id.into(),
            name: "=evil".into(),
            rights: vec!["chat".into()],
            created: Millis(2000),
            expires: Some(now.plus(Millis(1))),
            used: Some(now),
            revoked: false,
            unbounded: false,
            single_factor: false,
        };
        let findings = review(
            vec![
                key("a"),
                Access {
                    used: Some(Millis(1000)),
                    ..key("b")
                },
                Access {
                    used: Some(Millis(1001)),
                    ..key("c")
                },
                Access {
                    expires: Some(now),
                    unbounded: true,
                    ..key("d")
                },
                Access {
                    used: None,
                    expires: None,
                    ..key("e")
                },
                Access {
                    revoked: true,
                    used: None,
                    ..key("f")
                },
                Access {
                    kind: "operator",
                    expires: None,
                    single_factor: true,
                    ..key("g")
                },
            ],
            now,
        );
        let asked: Vec<_> = findings
            .iter()
            .map(|f| (f.access.id.as_str(), f.questions.join(" ")))
            .collect();
        let none = String::new();
        assert_eq!(
            asked,
            [
                ("d", "expired unbounded".to_owned()),
                ("e", "never_used no_expiry".to_owned()),
                ("b", "unused".to_owned()),
                ("g", "no_second_factor".to_owned()),
                ("a", none.clone()),
                ("c", none.clone()),
                ("f", none),
            ]
        );
        assert!(findings[0].csv().contains("\"'=evil\""));
        assert_eq!(findings[0].json()["last_used"], now.rfc3339());
    }
}
