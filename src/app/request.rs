//! A request as the stories see it: method, path, the headers that matter, and the body still on its way.

use crate::base::errors::Refusal;
use crate::base::time::Millis;
use crate::domain::identity::{Credentials, same_site, signature};
use crate::domain::route::Dialect;

/// The head of a request. Only these headers are ever read.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Method in upper case.
    pub method: String,
    /// Path without query, as sent (percent-encoding kept).
    pub path: String,
    /// Query without the question mark.
    pub query: String,
    /// `scheme://host[:port]` of the request's own URL.
    pub own_origin: String,
    /// `cf-connecting-ip`
    pub address: Option<String>,
    /// The country that Cloudflare found (`cf-ipcountry`).
    pub country: Option<String>,
    /// The autonomous system that the request came from, where Cloudflare tells it.
    pub asn: Option<u32>,
    /// `user-agent`
    pub user_agent: Option<String>,
    /// `accept`
    pub accept: Option<String>,
    /// `signature` (RFC 9421)
    pub signature: Option<String>,
    /// `signature-input` (RFC 9421)
    pub signature_input: Option<String>,
    /// `date`
    pub date: Option<String>,
    /// `content-digest` (RFC 9530)
    pub content_digest: Option<String>,
    /// `authorization`
    pub authorization: Option<String>,
    /// `x-api-key`
    pub api_key: Option<String>,
    /// `cookie`
    pub cookie: Option<String>,
    /// `origin`
    pub origin: Option<String>,
    /// `sec-fetch-site`
    pub fetch_site: Option<String>,
    /// `content-type`
    pub content_type: Option<String>,
    /// `content-encoding`
    pub content_encoding: Option<String>,
    /// `content-length`, when it is a number.
    pub content_length: Option<u64>,
    /// `cache-control`
    pub cache_control: Option<String>,
    /// `anthropic-version`
    pub anthropic_version: Option<String>,
    /// `range`
    pub range: Option<String>,
    /// `if-none-match`
    pub if_none_match: Option<String>,
    /// `if-match`
    pub if_match: Option<String>,
    /// `x-gatehouse-link`: the token of a link, for who does not want it in a path.
    pub link: Option<String>,
    /// `x-gatehouse-passphrase`: that of a link.
    pub passphrase: Option<String>,
    /// `if-range`
    pub if_range: Option<String>,
    /// `accept-language`
    pub accept_language: Option<String>,
    /// `idempotency-key`
    pub idempotency_key: Option<String>,
    /// `last-event-id`
    pub last_event_id: Option<String>,
    /// `x-gatehouse-resumable: true`
    pub resumable: bool,
    /// `x-gatehouse-trailer: true`: a comment with cost and counts behind the end of a stream.
    pub trailer: bool,
    /// `x-gatehouse-prefer`: `quality`, `latency` or `cost`, for aliases that choose.
    pub prefer: Option<String>,
    /// `x-gatehouse-first-token-ms`
    pub first_token_ms: Option<u64>,
    /// `x-gatehouse-total-ms`
    pub total_ms: Option<u64>,
    /// `x-request-id`
    pub request_id: Option<String>,
    /// `traceparent`
    pub traceparent: Option<String>,
    /// `access-control-request-method`
    pub cors_method: Option<String>,
    /// `access-control-request-headers`
    pub cors_headers: Option<String>,
    /// Bytes of all header names and values together.
    pub header_bytes: usize,
    /// When the request arrived.
    pub at: Millis,
}

impl Head {
    /// What the request presents to say who it is.
    #[must_use]
    pub fn credentials(&self) -> Credentials<'_> {
        Credentials {
            authorization: self.authorization.as_deref(),
            api_key: self.api_key.as_deref(),
            cookie: self.cookie.as_deref(),
            signed: self.is_signed(),
            https: self.https(),
        }
    }

    /// Does it carry a signature for this house? Those with another tag, and those without one, are somebody else's.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.signature_input
            .as_deref()
            .is_some_and(signature::is_for_us)
    }

    /// The dialect in which to answer.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        crate::domain::route::dialect(&self.path, self.anthropic_version.is_some())
    }

    /// Does the caller's first language happen to be Chinese?
    #[must_use]
    pub fn prefers_chinese(&self) -> bool {
        self.accept_language
            .as_deref()
            .and_then(|header| header.split([',', ';', '-']).next())
            .is_some_and(|first| first.trim().eq_ignore_ascii_case("zh"))
    }

    /// Refuses a browser that shows another site: what belongs to a visitor is for pages of this site alone.
    ///
    /// # Errors
    /// `cross_site_refused`
    pub fn own_site(&self) -> Result<(), Refusal> {
        same_site(
            self.origin.as_deref(),
            self.fetch_site.as_deref(),
            &self.own_origin,
        )
    }

    /// Was the request made over TLS?
    #[must_use]
    pub fn https(&self) -> bool {
        self.own_origin.starts_with("https://")
    }

    /// A query parameter's value, percent-decoded; the first one of that name.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        form_pairs(&self.query)
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }
}

/// The pairs of an `application/x-www-form-urlencoded` text (WHATWG URL §5.1), decoded.
pub fn form_pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(name), percent_decode(value))
    })
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'+' => b' ',
            b'%' => {
                let mut ahead = rest.clone();
                let digits = [ahead.next(), ahead.next()]
                    .map(|d| d.and_then(|d| char::from(d).to_digit(16)));
                match digits {
                    [Some(high), Some(low)] => {
                        rest = ahead;
                        u8::try_from(high.saturating_mul(16).saturating_add(low)).unwrap_or(b'%')
                    }
                    _ => b'%',
                }
            }
            other => other,
        };
        bytes.push(decoded);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::form_pairs;

    #[test]
    fn forms_are_decoded_as_browsers_encode_them() {
        let pairs: Vec<_> =
            form_pairs("question=What+is+100%25%3F&model=site&x=%E4%BD%A0&bad=%zz&empty").collect();
        let expected = [
            ("question", "What is 100%?"),
            ("model", "site"),
            ("x", "你"),
            ("bad", "%zz"),
            ("empty", ""),
        ];
        assert_eq!(pairs, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
