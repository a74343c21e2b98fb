//! Outgoing messages that the receiver can verify: Standard Webhooks 1.0.0, symmetric signatures.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::base::secret::Secret;

/// The signing secret: `whsec_` and 24 to 64 bytes in base64.
pub struct WebhookSecret(Secret<Vec<u8>>);

impl WebhookSecret {
    /// Reads a secret; `None` when it is not of that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
        (24..=64)
            .contains(&bytes.len())
            .then(|| Self(Secret::new(bytes)))
    }

    /// The headers of a message. `id` stays the same when the message is sent again and has no `.`; `seconds` is the time
    /// of this attempt since the epoch.
    #[must_use]
    pub fn headers(&self, id: &str, seconds: u64, body: &[u8]) -> Vec<(&'static str, String)> {
        let at = seconds.to_string();
        let mut headers = vec![
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", at.clone()),
        ];
        // A key of any length is accepted; the other arm exists only because the type says so.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.reveal()) {
            for part in [id.as_bytes(), b".", at.as_bytes(), b".", body] {
                mac.update(part);
            }
            let signature = STANDARD.encode(mac.finalize().into_bytes());
            headers.push(("webhook-signature", ["v1,", &signature].concat()));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::WebhookSecret;

    #[test]
    fn the_published_example_comes_out() {
        // Standard Webhooks' reference libraries: the message of their signing test.
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let headers = secret.headers(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        let signature = headers
            .iter()
            .find(|(name, _)| *name == "webhook-signature");
        assert_eq!(
            signature.unwrap().1,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_has_24_to_64_bytes() {
        for (text, good) in [
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", true),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", false),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa", false),
            ("whsec_", false),
            ("whsec_!", false),
        ] {
            assert_eq!(WebhookSecret::parse(text).is_some(), good, "{text}");
        }
    }
}
