//! What the scanner of documents says of this repository's own texts: patterns that find too much would be found here.

use std::fs;
use std::path::Path;

use gatehouse::domain::documents::scan::{Claim, Policy, Report, Scanner};

fn scan(bytes: &[u8]) -> Report {
    let claim = Claim {
        content_type: None,
        filename: "document".into(),
    };
    let mut scanner = Scanner::new(Policy::default(), claim);
    scanner.push(bytes);
    scanner.finish()
}

#[test]
fn the_documentation_of_this_repository_is_clean_but_for_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![
        root.join("README.md"),
        root.join("ARCHITECTURE.md"),
        root.join("CONTRIBUTING.md"),
        root.join("CHANGELOG.md"),
        root.join("gatehouse.toml"),
        root.join("Cargo.lock"),
        root.join("package-lock.json"),
    ];
    for folder in ["docs", "docs/snippets", "static", "src/domain/documents"] {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        files.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.is_file()),
        );
    }
    assert!(files.len() > 30);
    let mut found = Vec::new();
    for file in files {
        let report = scan(&fs::read(&file).unwrap());
        let name = file.strip_prefix(root).unwrap().display().to_string();
        found.extend(report.findings.into_iter().map(|one| {
            format!(
                "{name}:{} {:?} {}",
                one.line.unwrap_or(0),
                one.rule,
                one.excerpt
            )
        }));
    }
    found.sort();
    assert_eq!(
        found,
        [
            "static/index.html:10 MarkupScript <script",
            "static/zh.html:10 MarkupScript <script",
        ]
    );
}
