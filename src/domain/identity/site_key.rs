//! Publishable keys of sites, bound to their origins.
//!
//! A site key stands in the source of a page, so it proves nothing: it says which site a session is asked for, and the
//! browser says by `Origin` which page asks. What is forged by a program without a browser must be held by the proof
//! that a session may need, and by the limits.

use serde::{Deserialize, Serialize};

use super::api_key::{Env, is_id, make_id};
use crate::domain::settings::config::{Proof, is_origin};

/// Random bytes that an id is made from.
pub const SITE_KEY_RANDOM_BYTES: usize = 12;
/// Characters of a name.
const MAX_NAME: usize = 100;
/// Origins of one site key.
pub const MAX_ORIGINS: usize = 32;
/// Characters of an origin: a host name has at most 253.
const MAX_ORIGIN_CHARS: usize = 270;

/// A site key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteKey {
    /// `pk_<env>_<id>`
    pub id: String,
    /// What operators call it.
    #[serde(default, rename = "n", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Pages of these origins may use it.
    #[serde(rename = "o")]
    pub origins: Vec<String>,
    /// The tier of its visitors; else that of `[session]`.
    #[serde(default, rename = "t", skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Does it make sessions?
    #[serde(rename = "on")]
    pub enabled: bool,
    /// The proof that its sessions need; else that of `[session]`.
    #[serde(default, rename = "p", skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

impl SiteKey {
    /// May pages of that origin use it? The very origin that the browser sent must be listed: neither a part of it nor
    /// `null`, which every sandboxed frame sends.
    #[must_use]
    pub fn serves(&self, origin: &str) -> bool {
        self.enabled && is_origin(origin) && self.origins.iter().any(|listed| listed == origin)
    }

    /// What is wrong with it, as paths and reasons.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, &'static str)> {
        let mut faults = Vec::new();
        if self.name.chars().count() > MAX_NAME || self.name.chars().any(char::is_control) {
            faults.push(("name", "has at most 100 characters"));
        }
        if !is_site_key(&self.id) {
            faults.push(("id", "is not of the form pk_<env>_<id>"));
        }
        if !(1..=MAX_ORIGINS).contains(&self.origins.len()) {
            faults.push(("origins", "needs 1 to 32 origins"));
        }
        let fits = |origin: &String| is_origin(origin) && origin.len() <= MAX_ORIGIN_CHARS;
        if !self.origins.iter().all(fits) {
            faults.push((
                "origins",
                "must be origins as browsers send them: https://host or https://host:port, in lower case, nothing after",
            ));
        }
        faults
    }
}

/// A new id: `pk_<env>_<16 characters>`.
#[must_use]
pub fn make_site_key(env: Env, random: &[u8; SITE_KEY_RANDOM_BYTES]) -> String {
    ["pk_", env.as_str(), "_", &make_id(random)].concat()
}

/// Has a text the form of a site key?
#[must_use]
pub fn is_site_key(text: &str) -> bool {
    let id = text
        .strip_prefix("pk_")
        .and_then(|rest| rest.split_once('_'))
        .filter(|(env, _)| Env::from_name(env).is_some());
    id.is_some_and(|(_, id)| is_id(id))
}

#[cfg(test)]
mod tests {
    use super::{SiteKey, is_site_key, make_site_key};
    use crate::domain::identity::api_key::Env;
    use crate::domain::settings::config::Proof;

    fn site() -> SiteKey {
        SiteKey {
            name: String::new(),
            id: make_site_key(Env::Production, &[9; 12]),
            origins: vec![
                "https://page.example".into(),
                "http://localhost:8080".into(),
            ],
            tier: None,
            enabled: true,
            proof: Some(Proof::Work),
        }
    }

    #[test]
    fn only_the_very_origin_is_served() {
        let site = site();
        assert!(site.serves("https://page.example"));
        assert!(site.serves("http://localhost:8080"));
        for origin in [
            "null",
            "",
            "*",
            "https://page.example/",
            "https://page.example:443",
            "http://page.example",
            "https://Page.example",
            "https://www.page.example",
            "https://page.example.evil.example",
            "https://evilpage.example",
            "https://page.exampl",
            "page.example",
            "http://localhost",
            "http://localhost:80801",
        ] {
            assert!(!site.serves(origin), "{origin}");
        }
    }

    #[test]
    fn null_is_refused_even_when_it_is_listed_and_a_disabled_key_serves_nobody() {
        let mut site = site();
        site.origins.push("null".into());
        assert!(!site.serves("null"));
        assert_eq!(site.faults().len(), 1);
        site.enabled = false;
        assert!(!site.serves("https://page.example"));
    }

    #[test]
    fn an_id_has_one_form() {
        let id = site().id;
        assert!(is_site_key(&id), "{id}");
        assert_eq!(id.len(), 23);
        for other in [
            "",
            "pk_prd_",
            &id[1..],
            &id[..22],
            &format!("{id}0"),
            &id.replace("prd", "xxx"),
            &id.replace("pk", "gh"),
        ] {
            assert!(!is_site_key(other), "{other}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(site().faults(), []);
        let of = |origins: Vec<String>| SiteKey { origins, ..site() }.faults().len();
        assert_eq!(of(vec![]), 1);
        assert_eq!(of(vec!["https://a.example".into(); 33]), 1);
        assert_eq!(of(vec!["https://a.example/x".into()]), 1);
        assert_eq!(of(vec![format!("https://{}", "a".repeat(300))]), 1);
    }

    #[test]
    fn the_stored_form_is_pinned() {
        let text = serde_json::to_string(&site()).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"id":"{}","o":["https://page.example","http://localhost:8080"],"on":true,"p":"work"}}"#,
                site().id
            )
        );
        assert_eq!(serde_json::from_str::<SiteKey>(&text).unwrap(), site());
    }
}
