use gatehouse::base::time::Millis;
use gatehouse::domain::settings::{embedded, names};
use serde_json::json;

use super::{markdown, plain, tokens, with_all_providers};

/// 2026-07-01T00:00:00Z
const NOW: Millis = Millis::from_secs(1_782_864_000);

/// The document's three parts for a configuration.
fn parts(config: &serde_json::Value) -> Vec<String> {
    let text = config.to_string();
    let base = |name: &str| match name {
        names::ENVIRONMENT => Some("test".to_owned()),
        names::GATEHOUSE_CONFIG => Some(text.clone()),
        _ => None,
    };
    let settings = with_all_providers(&base).unwrap();
    let template = "{{matrix}}\n===\n{{meanings}}\n===\n{{sizes}}";
    let text = markdown(template, &settings, NOW).unwrap();
    text.split("\n===\n").map(str::to_owned).collect()
}

/// The shipped configuration with other providers, aliases and prices.
fn config() -> serde_json::Value {
    let mut whole = serde_json::to_value(embedded().unwrap()).unwrap();
    let own = json!({
        "provider": [
            {"name": "cloud", "kind": "openai", "key": "CLOUD_KEY"},
            {"name": "local", "kind": "openai", "base_url_var": "LOCAL_URL"},
            {"name": "builtin", "kind": "builtin"},
        ],
        "alias": [
            {
                "name": "talk", "title": "A | B *c*", "public": true, "max_output_tokens": 2048,
                "allow_parameters": ["images"],
                "target": [
                    {
                        "provider": "cloud", "model": "secret-large", "tier": "large", "context_tokens": 200_000,
                        "capabilities": ["images", "streaming"],
                    },
                    {"provider": "local", "model": "secret-small", "capabilities": ["tools"]},
                ],
            },
            {"name": "quotes", "public": true, "target": [{"provider": "builtin"}]},
            {"name": "vectors", "public": true, "serves": "embeddings", "target": [{"provider": "cloud", "model": "secret-vectors"}]},
            {"name": "hidden", "public": false, "target": [{"provider": "cloud", "model": "secret-large"}]},
        ],
        "price": [
            {"model": "secret-large", "input": 1.25, "output": 10},
            {"model": "secret-large", "input": 99, "output": 99, "valid_from": "2027-01-01"},
        ],
    });
    for (name, value) in own.as_object().unwrap() {
        whole[name] = value.clone();
    }
    whole
}

#[test]
fn the_matrix_is_the_union_of_what_the_configured_targets_can_whether_they_are_active_or_not() {
    let all = parts(&config());
    let lines: Vec<&str> = all[0].lines().collect();
    assert_eq!(
        lines,
        [
            "| Capability | `talk` | `quotes` |",
            "| --- | --- | --- |",
            "| Images | yes | no |",
            "| Files | no | no |",
            "| Audio | no | no |",
            "| Tools | yes | no |",
            "| JSON schema | no | no |",
            "| JSON object | no | no |",
            "| Reasoning | no | no |",
            "| Streaming | yes | yes |",
            "| Parallel tools | no | no |",
        ]
    );
}

#[test]
fn sizes_tell_the_price_of_the_day_and_never_a_providers_model_or_a_hidden_alias() {
    let all = parts(&config());
    let sizes: Vec<&str> = all[2].lines().collect();
    assert_eq!(
        sizes,
        [
            "| Model | `talk` | `quotes` | `vectors` |",
            "| --- | --- | --- | --- |",
            "| Title | A \\| B \\*c\\* | quotes | vectors |",
            "| For | chat | chat | embeddings |",
            "| Without any provider | not there | quotes from this site | not there |",
            "| Context | 200,000 | – | – |",
            "| Longest answer | 2,048 | 1,024 | – |",
            "| Tier | large | medium | medium |",
            "| Prices | 1.25 input, 10 output | – | – |",
        ]
    );
    let text = all.join("\n");
    assert!(
        !text.contains("secret") && !text.contains("hidden"),
        "{text}"
    );
}

#[test]
fn every_capability_is_explained() {
    let all = parts(&config());
    assert_eq!(all[1].lines().count(), 9);
    assert!(all[1].contains("- **JSON schema** (`json_schema` in `/v1/models`): "));
}

#[test]
fn a_site_without_public_models_says_so() {
    let mut config = config();
    for alias in config["alias"].as_array_mut().unwrap() {
        alias["public"] = json!(false);
    }
    let all = parts(&config);
    assert_eq!(all[0], "No public model of this site holds conversations.");
    assert_eq!(all[2], "This site has no public models.");
}

#[test]
fn numbers_are_grouped_and_titles_stay_text() {
    let grouped = [1, 12, 123, 1234, 12345, 123_456, 1_234_567].map(|n| tokens(Some(&json!(n))));
    assert_eq!(
        grouped,
        ["1", "12", "123", "1,234", "12,345", "123,456", "1,234,567"]
    );
    assert_eq!(plain("<b>[x](y)\n`|`"), "\\<b\\>\\[x\\]\\(y\\) \\`\\|\\`");
}
