//! Signed requests against a signer that was not written here (the crate `httpsig`).

use gatehouse::base::digest::sha256;
use gatehouse::base::time::Millis;
use gatehouse::domain::identity::signature::{Algorithm, Request, Verify, verify};
use httpsig::prelude::message_component::{HttpMessageComponent, HttpMessageComponentId};
use httpsig::prelude::{
    AlgorithmName, HttpSignatureBase, HttpSignatureParams, PublicKey, SecretKey, VerifyingKey,
};

const SECS: u64 = 1_795_237_500;
const BODY: &[u8] = br#"{"model":"chat","messages":[]}"#;

/// base64 of a digest, by another way than the verifier's own.
fn content_digest(body: &[u8]) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(sha256(body));
    format!("sha-256=:{encoded}:")
}

/// What a client does: (Signature-Input, Signature).
fn sign(key: &SecretKey, algorithm: &AlgorithmName, nonce: &str) -> (String, String) {
    let digest = format!("\"content-digest\": {}", content_digest(BODY));
    let lines = [
        "\"@method\": POST",
        "\"@authority\": house.example",
        "\"@path\": /v1/chat/completions",
        "\"@query\": ?a=b%20c&d",
        digest.as_str(),
        "\"content-type\": application/json",
    ];
    let components: Vec<HttpMessageComponent> = lines
        .iter()
        .map(|line| HttpMessageComponent::try_from(*line).unwrap())
        .collect();
    let ids: Vec<HttpMessageComponentId> = components
        .iter()
        .map(|component| component.id.clone())
        .collect();
    let mut params = HttpSignatureParams::try_new(&ids).unwrap();
    params
        .set_created(SECS)
        .set_expires(SECS + 120)
        .set_nonce(nonce)
        .set_alg(algorithm)
        .set_keyid("A1b2C3d4E5f6G7h8")
        .set_tag("gatehouse");
    let base = HttpSignatureBase::try_new(&components, &params).unwrap();
    let headers = base.build_signature_headers(key, Some("sig1")).unwrap();
    (
        headers.signature_input_header_value(),
        headers.signature_header_value(),
    )
}

/// What the house does with it.
fn receive(input: &str, signature: &str, path: &str, query: &str) -> Verify {
    let digest = content_digest(BODY);
    let request = Request {
        method: "POST",
        https: true,
        authority: "House.Example:443",
        path,
        query: Some(query),
        headers: &[
            ("content-type", "application/json"),
            ("content-digest", &digest),
            ("signature-input", input),
            ("signature", signature),
        ],
        body: BODY,
    };
    verify(&request, Millis::from_secs(SECS + 1))
        .unwrap()
        .unwrap()
}

fn valid(public: &PublicKey, told: &Verify) -> bool {
    public.verify(&told.base, &told.signature).is_ok()
}

#[test]
fn a_request_signed_by_another_implementation_is_understood() {
    for (name, algorithm) in [
        (AlgorithmName::Ed25519, Algorithm::Ed25519),
        (AlgorithmName::EcdsaP256Sha256, Algorithm::EcdsaP256),
    ] {
        let key = SecretKey::from_bytes(&name, &[7; 32]).unwrap();
        let public = key.public_key();
        let (input, signature) = sign(&key, &name, "bm9uY2Utb2YtdGhlLWNsaWVudA==");
        let told = receive(&input, &signature, "/v1/chat/completions", "a=b%20c&d");
        assert!(valid(&public, &told), "{input}");
        assert!(told.agrees(algorithm));
        assert_eq!(told.keyid, "A1b2C3d4E5f6G7h8");
        assert_eq!(told.nonce, "bm9uY2Utb2YtdGhlLWNsaWVudA==");
        assert_eq!(told.expires, Millis::from_secs(SECS + 120));

        // Another path, query or nonce is another message.
        let elsewhere = receive(&input, &signature, "/v1/messages", "a=b%20c&d");
        assert!(!valid(&public, &elsewhere));
        let otherwise = receive(&input, &signature, "/v1/chat/completions", "a=b c&d");
        assert!(!valid(&public, &otherwise));
        let renewed = input.replace("bm9uY2U", "Bm9uY2U");
        assert_ne!(renewed, input);
        let replayed = receive(&renewed, &signature, "/v1/chat/completions", "a=b%20c&d");
        assert!(!valid(&public, &replayed));
    }
}
