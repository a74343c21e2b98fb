//! Recovery exports: sealed by the Worker's code, opened by the operator's.

use gatehouse::base::aead::AeadError;
use gatehouse::base::digest::{base64url, from_base64url, hex, sha256};
use gatehouse::base::machine::Machine;
use gatehouse::base::secret::Secret;
use gatehouse::base::time::Millis;
use gatehouse::domain::keyring::recovery::{
    ENCAPSULATED_BYTES, PUBLIC_KEY_BYTES, RecoveryError, RecoveryKey, export,
};
use gatehouse::domain::keyring::{
    FirstKeys, Keyring, Opened, Reply, Roots, first_ring, wrap_version,
};
use gatehouse_recovery::{Fault, PrivateKey};
use serde_json::{Value, json};
use std::process::{Command, Output};

const NOW: Millis = Millis(1_795_237_500_000);

fn opened() -> Opened {
    let roots = Roots::new(Some(&[1; 32]), None);
    let data = [2, 3, 4, 5].map(|byte| (Secret::new([byte; 32]), [byte; 12]));
    let keys = FirstKeys {
        version: Secret::new([6; 32]),
        data,
    };
    let wrap = wrap_version("acme", 1, &[6; 32], &roots, &[7; 12]).unwrap();
    let (reply, _) = Keyring::load(NOW, Vec::new()).apply(NOW, first_ring("acme", wrap, &keys));
    let Reply::Loaded(ring) = reply else {
        panic!("not loaded")
    };
    Opened::new("acme", *ring, &roots, &[]).unwrap_or_else(|fault| panic!("{fault}"))
}

fn private(seed: u8) -> PrivateKey {
    PrivateKey::new(Secret::new([seed; 32]))
}

fn sealed_to(key: &PrivateKey) -> String {
    let to = RecoveryKey::of_config(Some(&key.public())).ok().unwrap();
    export("acme", &opened(), &to, NOW, &Secret::new([8; 64]), &[9; 12]).unwrap()
}

#[test]
fn the_key_generation_is_that_of_the_draft() {
    // draft-connolly-cfrg-xwing-kem, appendix C, first vector: its seed, and its public key by its start and its digest.
    let seed = "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26";
    let bytes: Vec<u8> = (0..32)
        .map(|i| u8::from_str_radix(&seed[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    let key = PrivateKey::new(Secret::new(bytes.try_into().unwrap()));
    let public = from_base64url(&key.public()).unwrap();
    assert_eq!(public.len(), PUBLIC_KEY_BYTES);
    assert_eq!(hex(&public[..8]), "e2236b35a8c24b39");
    let digest = "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb";
    assert_eq!(hex(&sha256(&public)), digest);
}

#[test]
fn an_export_opens_with_the_private_key_and_has_every_key() {
    let key = private(20);
    let plain = key.open(&sealed_to(&key)).ok().unwrap();
    let value: Value = serde_json::from_str(plain.reveal()).unwrap();
    assert_eq!(
        value["versions"],
        json!([{"n": 1, "state": "active", "key": base64url(&[6; 32])}])
    );
    let mut data: Vec<(&str, &str)> = value["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            (
                key["purpose"].as_str().unwrap(),
                key["key"].as_str().unwrap(),
            )
        })
        .collect();
    data.sort_unstable();
    let keys = [4, 2, 5, 3].map(|byte| base64url(&[byte; 32]));
    let expected: Vec<(&str, &str)> = ["audit", "pepper", "seal", "session"]
        .into_iter()
        .zip(keys.iter().map(String::as_str))
        .collect();
    assert_eq!(data, expected);
}

#[test]
fn an_export_shows_no_key() {
    let export = sealed_to(&private(20));
    for byte in 1..10u8 {
        assert!(!export.contains(&base64url(&[byte; 32])));
    }
    let value: Value = serde_json::from_str(&export).unwrap();
    let encapsulated = from_base64url(value["encapsulated"].as_str().unwrap()).unwrap();
    assert_eq!(encapsulated.len(), ENCAPSULATED_BYTES);
}

#[test]
fn another_private_key_opens_nothing_even_when_the_export_names_it() {
    let (key, other) = (private(20), private(21));
    let export = sealed_to(&key);
    assert!(matches!(
        other.open(&export).err(),
        Some(Fault::OtherRecipient(_))
    ));
    let mut value: Value = serde_json::from_str(&export).unwrap();
    let mut name = hex(&sha256(&from_base64url(&other.public()).unwrap()));
    name.truncate(32);
    value["recipient"] = json!(name);
    assert_eq!(
        other.open(&value.to_string()).err(),
        Some(Fault::Sealed(AeadError::WrongKey))
    );
}

#[test]
fn no_field_of_an_export_can_be_changed() {
    let key = private(20);
    let value: Value = serde_json::from_str(&sealed_to(&key)).unwrap();
    let flipped = |name: &str| {
        let mut bytes = from_base64url(value[name].as_str().unwrap()).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        json!(base64url(&bytes))
    };
    let forged = Fault::Sealed(AeadError::Forged);
    let cases = [
        ("format", json!("other"), Fault::NotAnExport),
        (
            "version",
            json!(2),
            Fault::Unsupported("version 2".to_owned()),
        ),
        (
            "kem",
            json!("X25519"),
            Fault::Unsupported("X25519".to_owned()),
        ),
        ("tenant", json!("other"), Fault::Sealed(AeadError::Forged)),
        ("made", json!(NOW.0 + 1), Fault::Sealed(AeadError::Forged)),
        ("revision", json!(99), Fault::Sealed(AeadError::Forged)),
        (
            "encapsulated",
            flipped("encapsulated"),
            Fault::Sealed(AeadError::WrongKey),
        ),
        ("encapsulated", json!("AAAA"), Fault::NotAnExport),
        ("sealed", flipped("sealed"), forged),
    ];
    for (name, changed, fault) in cases {
        let mut export = value.clone();
        export[name] = changed;
        assert_eq!(key.open(&export.to_string()).err(), Some(fault), "{name}");
    }
}

#[test]
fn without_a_public_key_there_is_no_export_but_the_step_to_take() {
    let refused = RecoveryKey::of_config(None).err().unwrap();
    assert_eq!(refused, RecoveryError::NotConfigured);
    assert!(refused.to_string().contains("keygen"));
    for text in ["", "AAAA", "not base64url!", &"A".repeat(1620)] {
        assert_eq!(
            RecoveryKey::of_config(Some(text)).err(),
            Some(RecoveryError::NotAKey),
            "{text}"
        );
    }
    // Coefficients beyond the modulus are no public key of ML-KEM (FIPS 203 §7.2).
    let beyond = base64url(&[0xFF; PUBLIC_KEY_BYTES]);
    assert_eq!(
        RecoveryKey::of_config(Some(&beyond)).err(),
        Some(RecoveryError::NotAKey)
    );
}

// === the program ===

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatehouse-recovery"))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn the_program_makes_a_key_that_only_its_owner_reads_and_opens_an_export_with_it() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("recovery");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let made = program(&["keygen", "--out", &path("key")]);
    assert!(made.status.success());
    let file = std::fs::read_to_string(path("key")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let key = PrivateKey::read(&file).ok().unwrap();
    let printed = String::from_utf8(made.stdout).unwrap();
    assert_eq!(printed.trim(), key.public());
    // Never over a key that is there.
    assert!(!program(&["keygen", "--out", &path("key")]).status.success());
    assert_eq!(std::fs::read_to_string(path("key")).unwrap(), file);

    std::fs::write(path("export"), sealed_to(&key)).unwrap();
    let opened = program(&["open", &path("export"), "--key", &path("key")]);
    assert!(opened.status.success());
    let value: Value = serde_json::from_slice(&opened.stdout).unwrap();
    assert_eq!(value["data"].as_array().unwrap().len(), 4);

    assert!(
        program(&["keygen", "--out", &path("other")])
            .status
            .success()
    );
    let refused = program(&["open", &path("export"), "--key", &path("other")]);
    assert!(!refused.status.success() && refused.stdout.is_empty());
    let wrong = program(&["open", &path("export"), "--key", &path("export")]);
    assert!(
        String::from_utf8(wrong.stderr)
            .unwrap()
            .contains("not a private key")
    );
    assert!(!program(&["open"]).status.success());
}
