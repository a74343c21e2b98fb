use super::{
    Capability, Choose, Config, LastResort, OnOverflow, OnUnsupported, Prefer, Priority,
    ProviderKind, Serves, Tier,
};

/// The least that is valid; `more` is put behind it.
fn text(alias: &str, target: &str, more: &str) -> String {
    let mut text = String::from(
        r#"
[[provider]]
name = "openai"
kind = "openai"
key = "OPENAI_API_KEY"

[[provider]]
name = "responses"
kind = "openai_responses"
key = "OPENAI_API_KEY"

[[alias]]
name = "embed"
serves = "embeddings"
[[alias.target]]
provider = "openai"
model = "small"

[[alias]]
name = "site"
"#,
    );
    text.push_str(alias);
    text.push_str("\n[[alias.target]]\nprovider = \"openai\"\nmodel = \"m\"\n");
    text.push_str(target);
    text.push('\n');
    for class in ["read", "chat", "embeddings", "upload"] {
        text.push_str(&format!(
            "[[limit]]\nclass = \"{class}\"\nburst = {{ requests = 1, seconds = 1 }}\n\
             sustained = {{ requests = 1, seconds = 1 }}\n"
        ));
    }
    text.push_str(more);
    text
}

fn read(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

/// The keys at fault.
fn faults(text: &str) -> Vec<String> {
    read(text).faults().into_iter().map(|f| f.key).collect()
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = read(&text("", "", ""));
    assert_eq!(config.faults(), []);
    assert_eq!(config.providers[1].kind, ProviderKind::OpenaiResponses);
    let deadlines = config.deadlines;
    assert_eq!(
        (deadlines.first_token_ms, deadlines.adaptive_floor_ms),
        (30_000, None)
    );
    let retry = config.retry;
    assert_eq!((retry.attempts_per_target, retry.attempts), (2, 4));
    assert_eq!(
        (retry.budget_ms, retry.base_ms, retry.max_ms),
        (60_000, 250, 4000)
    );
    assert_eq!(retry.max_retry_after_ms, 5000);
    let streams = config.streams;
    assert_eq!((streams.ttl_seconds, streams.grace_seconds), (3600, 30));
    assert_eq!(
        (streams.max_bytes, streams.idempotency_ttl_seconds),
        (4_194_304, 86_400)
    );
    let alias = &config.aliases[1];
    assert_eq!(
        (alias.choose, alias.prefer),
        (Choose::Order, Prefer::Quality)
    );
    assert_eq!(alias.on_unsupported, OnUnsupported::Refuse);
    assert_eq!(alias.on_overflow, OnOverflow::Refuse);
    assert_eq!(alias.priority, Priority::Interactive);
    assert!(alias.store_responses);
    assert!(!(alias.rescue || alias.hedge || alias.resumable || alias.compact));
    assert!(!alias.validate_schema && alias.last_resort.is_empty());
    assert!(alias.similar.is_none() && alias.retry.is_none());
    let target = &alias.targets[0];
    assert_eq!((target.weight, target.queue), (1, 16));
    assert_eq!((target.tier, target.prefill), (Tier::Medium, None));
    assert!(target.capabilities.is_none() && target.max_concurrent.is_none());
    assert!(target.context_tokens.is_none() && target.max_output_tokens.is_none());
}

#[test]
fn every_key_is_read() {
    let alias = r#"
choose = "auto"
prefer = "cost"
rescue = true
hedge = true
last_resort = ["stale", "builtin"]
resumable = true
on_unsupported = "drop"
on_overflow = "trim"
compact = true
validate_schema = true
store_responses = false
priority = "batch"
similar = { threshold = 0.9 }
retry = { attempts = 3 }
"#;
    let target = r#"
weight = 3
context_tokens = 200_000
max_output_tokens = 64_000
prefill = true
tier = "large"
capabilities = ["images", "json_schema"]
max_concurrent = 8
queue = 4
"#;
    let config = read(&text(alias, target, ""));
    assert_eq!(config.faults(), []);
    let alias = &config.aliases[1];
    assert_eq!((alias.choose, alias.prefer), (Choose::Auto, Prefer::Cost));
    assert_eq!(alias.last_resort, [LastResort::Stale, LastResort::Builtin]);
    assert_eq!(alias.on_unsupported, OnUnsupported::Drop);
    assert_eq!(alias.on_overflow, OnOverflow::Trim);
    assert_eq!(alias.priority, Priority::Batch);
    assert!(alias.rescue && alias.hedge && alias.resumable && alias.compact);
    assert!(alias.validate_schema && !alias.store_responses);
    let similar = alias.similar.as_ref().unwrap();
    assert_eq!(
        (similar.alias.as_str(), similar.max_entries),
        ("embed", 200)
    );
    assert!((similar.threshold - 0.9).abs() < 1e-12);
    let retry = alias.retry.unwrap();
    assert_eq!((retry.attempts, retry.attempts_per_target), (3, 2));
    let target = &alias.targets[0];
    assert_eq!((target.weight, target.queue), (3, 4));
    assert_eq!(target.context_tokens, Some(200_000));
    assert_eq!(target.max_output_tokens, Some(64_000));
    assert_eq!((target.prefill, target.tier), (Some(true), Tier::Large));
    assert_eq!(
        target.capabilities.as_deref(),
        Some(&[Capability::Images, Capability::JsonSchema][..])
    );
    assert_eq!(target.max_concurrent, Some(8));
}

#[test]
fn a_fault_names_its_key() {
    let alias = |lines: &str| text(lines, "", "");
    let target = |lines: &str| text("", lines, "");
    let more = |lines: &str| text("", "", lines);
    let price = |lines: &str| {
        text(
            "",
            "",
            &format!("[[price]]\nmodel = \"m\"\ninput = 1\noutput = 2\n{lines}"),
        )
    };
    let table: &[(String, &str)] = &[
        (more("[deadlines]\nfirst_token_ms = 50"), "deadlines"),
        (
            more("[deadlines]\nfirst_token_ms = 9000\ntotal_ms = 8000"),
            "deadlines.total_ms",
        ),
        (
            more("[deadlines]\nadaptive_floor_ms = 30_001"),
            "deadlines.adaptive_floor_ms",
        ),
        (
            more("[retry]\nattempts_per_target = 0"),
            "retry.attempts_per_target",
        ),
        (more("[retry]\nattempts = 1"), "retry.attempts"),
        (more("[retry]\nbase_ms = 0"), "retry.base_ms"),
        (more("[retry]\nbase_ms = 5000"), "retry.max_ms"),
        (more("[retry]\nbudget_ms = 900_001"), "retry.budget_ms"),
        (
            more("[retry]\nmax_retry_after_ms = 60_001"),
            "retry.max_retry_after_ms",
        ),
        (more("[streams]\nttl_seconds = 59"), "streams.ttl_seconds"),
        (
            more("[streams]\ngrace_seconds = 901"),
            "streams.grace_seconds",
        ),
        (more("[streams]\nmax_bytes = 1"), "streams.max_bytes"),
        (
            more("[streams]\nidempotency_ttl_seconds = 1"),
            "streams.idempotency_ttl_seconds",
        ),
        (alias("retry = { attempts = 0 }"), "alias[1].retry.attempts"),
        (
            alias("last_resort = [\"stale\", \"stale\"]"),
            "alias[1].last_resort[1]",
        ),
        (
            alias("similar = { alias = \"site\" }"),
            "alias[1].similar.alias",
        ),
        (
            alias("similar = { threshold = 1.1 }"),
            "alias[1].similar.threshold",
        ),
        (
            alias("similar = { max_entries = 0 }"),
            "alias[1].similar.max_entries",
        ),
        (
            text("choose = \"weighted\"", "weight = 0", ""),
            "alias[1].choose",
        ),
        (target("weight = 1_000_001"), "alias[1].target[0].weight"),
        (target("queue = 1001"), "alias[1].target[0].queue"),
        (
            target("max_concurrent = 0"),
            "alias[1].target[0].max_concurrent",
        ),
        (
            target("context_tokens = 10"),
            "alias[1].target[0].context_tokens",
        ),
        (
            target("context_tokens = 1000\nmax_output_tokens = 1001"),
            "alias[1].target[0].max_output_tokens",
        ),
        (
            target("capabilities = [\"tools\", \"tools\"]"),
            "alias[1].target[0].capabilities[1]",
        ),
        (
            alias("serves = \"speech\"\nrescue = true"),
            "alias[1].rescue",
        ),
        (
            alias("serves = \"images\"\nsimilar = {}"),
            "alias[1].similar",
        ),
        (price("cached_input = -0.1"), "price[0].cached_input"),
        (price("reasoning = nan"), "price[0].reasoning"),
        (price("per_image = inf"), "price[0].per_image"),
        (price("per_second = 100_001"), "price[0].per_second"),
        (price("per_request = 0.0000001"), "price[0].per_request"),
        (price("provider = \"nobody\""), "price[0].provider"),
        (price("valid_from = \"2026-02-29\""), "price[0].valid_from"),
        (
            price("[[price]]\nmodel = \"m\"\ninput = 1\noutput = 2"),
            "price[1].model",
        ),
    ];
    for (text, key) in table {
        let found = faults(text);
        assert!(found.iter().any(|k| k == key), "{key}: found {found:?}");
    }
}

#[test]
fn bounds_belong_to_what_they_bound() {
    for more in [
        "[retry]\nattempts = 2\nbase_ms = 4000\nbudget_ms = 0\nmax_retry_after_ms = 60_000",
        "[deadlines]\nfirst_token_ms = 300_000\nadaptive_floor_ms = 300_000",
        "[streams]\nttl_seconds = 60\ngrace_seconds = 900\nmax_bytes = 65_536",
        "[[price]]\nmodel = \"m\"\ninput = 100_000\noutput = 0.000001",
    ] {
        assert_eq!(faults(&text("", "", more)), [""; 0], "{more}");
    }
}

#[test]
fn an_alias_that_serves_no_chat_leaves_none_for_chat() {
    assert!(faults(&text("serves = \"images\"", "", "")).contains(&"alias".to_owned()));
}

#[test]
fn only_openai_serves_more_than_chat() {
    for serves in [
        Serves::Embeddings,
        Serves::Moderations,
        Serves::Images,
        Serves::Speech,
        Serves::Transcriptions,
    ] {
        let more = format!(
            "[[alias]]\nname = \"more\"\nserves = \"{}\"\n[[alias.target]]\nprovider = \"responses\"\nmodel = \"m\"\n",
            serves.name()
        );
        assert_eq!(
            faults(&text("", "", &more)),
            ["alias[2].target[0].provider"]
        );
        let good = more.replace("\"responses\"", "\"openai\"");
        assert_eq!(faults(&text("", "", &good)), [""; 0]);
    }
}

#[test]
fn an_unknown_key_is_refused() {
    for (alias, target, more) in [
        ("rescu = true", "", ""),
        ("similar = { treshold = 0.9 }", "", ""),
        ("retry = { tries = 2 }", "", ""),
        ("", "wait = 1", ""),
        ("", "", "[deadlines]\nfirst_byte_ms = 1000"),
        ("", "", "[streams]\nttl = 60"),
        ("", "", "[[price]]\nmodel = \"m\"\nper_minute = 1"),
    ] {
        let text = text(alias, target, more);
        assert!(
            toml::from_str::<Config>(&text).is_err(),
            "{alias}{target}{more}"
        );
    }
}

#[test]
fn prices_of_one_model_may_follow_each_other() {
    let more = "[[price]]\nmodel = \"m\"\ninput = 1\noutput = 2\n\
                [[price]]\nmodel = \"m\"\nvalid_from = \"2026-10-07\"\ninput = 0.5\noutput = 2\n\
                [[price]]\nmodel = \"m\"\nprovider = \"openai\"\ninput = 3\noutput = 2\n";
    assert_eq!(faults(&text("", "", more)), [""; 0]);
}

/// Keys that the embedded configuration does not happen to hold; tests/contract/names.rs looks at the others.
#[test]
fn the_keys_of_optional_tables_are_documented() {
    let docs = include_str!("../../../../docs/configuration.md");
    let more = "[[price]]\nmodel = \"m\"\n";
    let config = read(&text("similar = {}\nretry = {}\ndeadlines = {}", "", more));
    let alias = serde_json::to_value(&config.aliases[1]).unwrap();
    let price = serde_json::to_value(&config.prices[0]).unwrap();
    for table in [
        &price,
        &alias["similar"],
        &alias["retry"],
        &alias["deadlines"],
    ] {
        for key in table.as_object().unwrap().keys() {
            assert!(docs.contains(&format!("`{key}`")), "{key}");
        }
    }
    for capability in Capability::ALL {
        assert!(docs.contains(&format!("`{}`", capability.name())));
    }
}
