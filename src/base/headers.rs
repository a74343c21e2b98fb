//! Header values that several places must agree on.

/// The Content-Security-Policy of every page: nothing runs, loads or submits but from this origin, and no inline code.
/// The site's builder writes the same text to `_headers`.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'";

/// The Content-Security-Policy of API answers, which are not pages.
pub const API_SECURITY_POLICY: &str =
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox";

/// Security headers that stand on every answer, pages and API alike.
pub const SECURITY_HEADERS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("strict-transport-security", "max-age=63072000"),
    ("x-frame-options", "DENY"),
];

/// A header value that every client can read (RFC 9110 §5.5): printable ASCII. Anything else, a line feed that would begin
/// a header of its own before all, becomes a question mark; some of it comes from requests.
#[must_use]
pub fn field_value(text: &str) -> String {
    let printable = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    text.chars().map(printable).collect()
}

/// Answer headers that a page of another origin may read.
pub const CORS_EXPOSED_HEADERS: &str = "x-request-id, request-id, retry-after, retry-after-ms, x-should-retry, \
ratelimit, ratelimit-policy, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, \
x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
anthropic-ratelimit-requests-limit, anthropic-ratelimit-requests-remaining, anthropic-ratelimit-requests-reset, \
x-cache, x-cache-score, age, x-gatehouse-answerer, x-gatehouse-target, x-gatehouse-attempts, x-gatehouse-cost-usd, \
x-gatehouse-tokens-in, x-gatehouse-tokens-out, x-gatehouse-tokens-estimated, x-gatehouse-dropped, x-gatehouse-choice, x-gatehouse-saved, \
x-gatehouse-response-id, x-gatehouse-fallback, x-gatehouse-sources, x-gatehouse-attached, traceparent";

#[cfg(test)]
mod tests {
    use super::field_value;

    #[test]
    fn what_no_header_can_carry_becomes_a_question_mark() {
        assert_eq!(field_value("a, \"b\"; c=1~"), "a, \"b\"; c=1~");
        assert_eq!(field_value("a\0b\r\nx: 1\u{7f}\tä"), "a?b??x: 1???");
    }
}
