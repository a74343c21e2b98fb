//! `keygen --out <file>` and `open <export> --key <file> [--show]`.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use gatehouse::base::secret::Secret;
use gatehouse_recovery::PrivateKey;

const USAGE: &str = "\
gatehouse-recovery keygen --out <file>
    Makes a key pair: writes the private key to <file> (which must not exist), prints the public key.
gatehouse-recovery open <export> --key <file> [--show]
    Opens an export and prints the keys in it as JSON; to a terminal only with --show.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["keygen", "--out", file] => keygen(file),
        ["open", export, "--key", key] => open(export, key, false),
        ["open", export, "--key", key, "--show"] => open(export, key, true),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            let _ = writeln!(io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn keygen(file: &str) -> Result<(), String> {
    let mut seed = [0; 32];
    // This program runs on the operator's machine, where the system is the source of randomness.
    #[allow(clippy::disallowed_methods)]
    getrandom::fill(&mut seed).map_err(|fault| format!("no randomness: {fault}"))?;
    let key = PrivateKey::new(Secret::new(seed));
    write_private(file, key.file().reveal()).map_err(|fault| format!("{file}: {fault}"))?;
    print(&key.public())
}

/// Writes a file that only its owner may read, and never over another one.
fn write_private(file: &str, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn open(export: &str, key: &str, show: bool) -> Result<(), String> {
    if io::stdout().is_terminal() && !show {
        return Err(
            "The keys would be printed to this terminal. Send them to a file, or add --show."
                .to_owned(),
        );
    }
    let read = |file: &str| fs::read_to_string(file).map_err(|fault| format!("{file}: {fault}"));
    let key = PrivateKey::read(&read(key)?).map_err(|fault| format!("{key}: {fault}"))?;
    let plain = key
        .open(&read(export)?)
        .map_err(|fault| format!("{export}: {fault}"))?;
    print(plain.reveal())
}

fn print(text: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{text}").map_err(|fault| fault.to_string())
}
