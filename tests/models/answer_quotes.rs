//! The built-in answerer, from outside: the right passage comes first, every quote stands in the passage it cites,
//! and neither a question nor a page nor a damaged index can break it.

use std::collections::BTreeSet;

use gatehouse::domain::answer::{
    Answer, Index, IndexError, Lang, Passage, answer, split_for_stream,
};
use proptest::prelude::{Strategy, any, prop_oneof, proptest};

fn passage(url: &str, page: &str, heading: &str, lang: &str, text: &str) -> Passage {
    Passage {
        url: url.into(),
        page: page.into(),
        heading: heading.into(),
        text: text.into(),
        lang: lang.into(),
    }
}

/// A small site in two languages.
fn site() -> Vec<Passage> {
    let en = |url, page, heading, text| passage(url, page, heading, "en", text);
    let zh = |url, page, heading, text| passage(url, page, heading, "zh-CN", text);
    vec![
        en(
            "/",
            "Gatehouse",
            "",
            "Gatehouse is the missing backend of a static site: one Cloudflare Worker that serves the pages, \
            gives them a language model and keeps the keys secret. It needs no server and no database.",
        ),
        en(
            "/docs/quickstart",
            "Quickstart",
            "Start it",
            "Run npm start in a fresh clone. The first start compiles the Worker and takes \
            a few minutes; later starts take seconds. Then open http://localhost:8787 in a browser.",
        ),
        en(
            "/docs/quickstart#openai",
            "Quickstart",
            "Use OpenAI",
            "Add OPENAI_API_KEY=sk-... to the file .dev.vars and start again. \
            OPENAI_BASE_URL points to any compatible server, with /v1 at its end. The name of the model is set with OPENAI_MODEL.",
        ),
        en(
            "/docs/quickstart#ollama",
            "Quickstart",
            "Use Ollama",
            "A local model needs no key. Set OPENAI_BASE_URL to \
            http://127.0.0.1:11434/v1 and OPENAI_MODEL to a model that Ollama has pulled.",
        ),
        en(
            "/docs/limits",
            "Limits",
            "",
            "Every visitor has an allowance. Networks are told apart by /24 for IPv4 and /48 for IPv6.",
        ),
        en(
            "/docs/limits#burst",
            "Limits",
            "Burst",
            "Up to 20 requests pass at once. After that one request passes every 3 seconds until \
            the burst has filled up again.",
        ),
        en(
            "/docs/limits#headers",
            "Limits",
            "Headers",
            "Each answer carries RateLimit and RateLimit-Policy. A refusal has status 429 and \
            Retry-After, in seconds; a retry after exactly that wait succeeds.",
        ),
        en(
            "/docs/cache",
            "Cache",
            "What is kept",
            "Complete answers of requests with temperature 0 are kept in KV. The header X-Cache says \
            hit, miss or bypass. Send Cache-Control: no-store to bypass it.",
        ),
        en(
            "/docs/documents",
            "Documents",
            "Upload",
            "Visitors upload documents on the documents page or with POST /v1/files. Files of \
            anonymous visitors are deleted after 24 hours. The largest file is 32 MiB.",
        ),
        en(
            "/docs/errors/origin_not_allowed",
            "Errors",
            "origin_not_allowed",
            "The page that called is not on the list of allowed origins. \
            Add its origin to [cors].origins in gatehouse.toml.",
        ),
        en(
            "/docs/deploy",
            "Deployment",
            "To Cloudflare",
            "Run npm run deploy. Secrets are set with npx wrangler secret put OPENAI_API_KEY and \
            are never printed.",
        ),
        zh(
            "/zh/",
            "Gatehouse",
            "",
            "Gatehouse 是静态网站缺少的后端：一个 Cloudflare Worker，为页面提供语言模型，并保管密钥。不需要服务器，也不需要数据库。",
        ),
        zh(
            "/zh/docs/limits",
            "限流",
            "突发",
            "每位访客一次最多可以发出 20 个请求。之后每 3 秒放行一个请求，直到额度恢复。",
        ),
        zh(
            "/zh/docs/cache",
            "缓存",
            "保存哪些回答",
            "温度为 0 的完整回答会保存在 KV 中。响应头 X-Cache 表示命中、未命中或绕过。",
        ),
        zh(
            "/zh/docs/documents",
            "文档",
            "上传",
            "访客可以在文档页面上传文件。匿名访客的文件会在 24 小时后删除。单个文件最大 32 MiB。",
        ),
        zh(
            "/zh/docs/quickstart",
            "快速开始",
            "使用 OpenAI",
            "把 OPENAI_API_KEY 写入 .dev.vars 文件，然后重新启动。也可以用 OPENAI_BASE_URL 指向兼容的服务器。",
        ),
    ]
}

fn ask(index: &Index, question: &str) -> Answer {
    answer(index, question, Lang::of(question))
}

#[test]
fn the_right_passage_comes_first() {
    let index = Index::build(site());
    let table = [
        // (question, the address cited first, words of its quote)
        (
            "What is Gatehouse?",
            "/",
            "missing backend of a static site",
        ),
        ("How do I start it?", "/docs/quickstart", "npm start"),
        (
            "How do I set my OpenAI key?",
            "/docs/quickstart#openai",
            "OPENAI_API_KEY",
        ),
        (
            "set the name of the model",
            "/docs/quickstart#openai",
            "OPENAI_MODEL",
        ),
        (
            "can I use a local model with ollama",
            "/docs/quickstart#ollama",
            "needs no key",
        ),
        (
            "How many requests can a visitor burst?",
            "/docs/limits#burst",
            "20 requests",
        ),
        (
            "what does retry-after mean",
            "/docs/limits#headers",
            "Retry-After",
        ),
        ("status 429", "/docs/limits#headers", "429"),
        ("max file size", "/docs/documents", "32 MiB"),
        ("document size limit", "/docs/documents", "documents"),
        ("Are answers cached?", "/docs/cache", "kept in KV"),
        ("bypassing caches", "/docs/cache", "bypass"),
        (
            "when are uploaded files deleted",
            "/docs/documents",
            "24 hours",
        ),
        (
            "What's the largest file that I may upload?",
            "/docs/documents",
            "32 MiB",
        ),
        (
            "gatehouse.toml origins",
            "/docs/errors/origin_not_allowed",
            "gatehouse.toml",
        ),
        (
            "origin_not_allowed",
            "/docs/errors/origin_not_allowed",
            "allowed origins",
        ),
        ("how to deploy", "/docs/deploy", "npm run deploy"),
        ("IPv6 networks", "/docs/limits", "/48"),
        (
            "ＯＰＥＮＡＩ＿ＢＡＳＥ＿ＵＲＬ",
            "/docs/quickstart#openai",
            "OPENAI_BASE_URL",
        ),
        ("Gatehouse 是什么？", "/zh/", "静态网站"),
        ("访客一次能发多少个请求？", "/zh/docs/limits", "20 个请求"),
        ("怎么限流", "/zh/docs/limits", "20 个请求"),
        ("哪些回答会被缓存？", "/zh/docs/cache", "温度为 0"),
        ("上传的文件什么时候删除？", "/zh/docs/documents", "24 小时"),
        (
            "怎么设置 OPENAI_API_KEY？",
            "/zh/docs/quickstart",
            "OPENAI_API_KEY",
        ),
        ("需要数据库吗", "/zh/", "数据库"),
    ];
    for (question, url, words) in table {
        let answer = ask(&index, question);
        let first = answer.citations.first();
        let first = first.map(|citation| (citation.url.as_str(), citation.quote.contains(words)));
        assert_eq!(first, Some((url, true)), "{question}\n{}", answer.markdown);
    }
}

#[test]
fn what_the_site_does_not_say_is_not_answered() {
    let index = Index::build(site());
    let table = [
        "What is the capital of France?",
        "Write a poem about the sea",
        "write me a poem",
        "Who won the football match yesterday?",
        "how do I bake a chocolate cake with a lime key",
        "hello",
        "can you write me python code to sort a list of numbers",
        "How does the weather affect cats?",
        "",
        "???",
        "the of and",
        "今天上海天气怎么样？",
        "给我讲个笑话",
        "你好",
        "明天股票会涨吗",
        "放假的时候回家吃饭",
        "存放",
        "客人发现绝路",
        "帮我写代码排序列表",
        "退款政策是什么",
        "的了吗",
    ];
    for question in table {
        let answer = ask(&index, question);
        assert!(
            answer.citations.is_empty(),
            "{question}\n{}",
            answer.markdown
        );
        let says_so = match Lang::of(question) {
            Lang::En => "I found nothing on this site's pages",
            Lang::Zh => "没有找到",
        };
        assert!(answer.markdown.contains(says_so), "{question}");
        assert!(!answer.markdown.contains("\n> "), "{question}");
    }
    let near = ask(&index, "how do I bake a chocolate cake with a lime key").markdown;
    assert!(near.contains("Nearest pages:\n\n- ["), "{near}");
    let nothing = Index::build(Vec::new());
    let bare = ask(&nothing, "Are answers cached?").markdown;
    assert!(!bare.contains("](") && !bare.contains("pages:"), "{bare}");
}

#[test]
fn an_answer_is_a_lead_then_quotes_then_their_link() {
    let index = Index::build(site());
    let answer = ask(&index, "What is the largest file?");
    assert_eq!(
        answer.markdown,
        "Built-in answer, no model. From this site's pages:\n\n\
        > The largest file is 32 MiB.\n\n\
        [Documents — Upload](/docs/documents)"
    );
    let [citation] = answer.citations.as_slice() else {
        panic!("{:?}", answer.citations);
    };
    assert_eq!(citation.title, "Documents — Upload");
    assert_eq!(citation.url, "/docs/documents");
    assert_eq!(citation.quote, "The largest file is 32 MiB.");

    let answer = ask(&index, "上传的文件什么时候删除？");
    assert!(
        answer.markdown.starts_with("内置回答，未使用模型。"),
        "{}",
        answer.markdown
    );
}

#[test]
fn the_language_of_the_question_decides_between_equals() {
    let index = Index::build(site());
    for (question, lang, url) in [
        (
            "OPENAI_API_KEY .dev.vars",
            Lang::En,
            "/docs/quickstart#openai",
        ),
        ("OPENAI_API_KEY .dev.vars", Lang::Zh, "/zh/docs/quickstart"),
    ] {
        assert_eq!(answer(&index, question, lang).citations[0].url, url);
    }
}

#[test]
fn text_of_pages_cannot_act_as_markup_and_is_cited_unchanged() {
    let hostile = "Caching [click](javascript:alert(1)) <img src=x onerror=alert(1)> ![p](https://evil.example/p.png) \
        https://evil.example `code` \u{202E}reversed **bold** &lt;";
    let titled = "Cache](//evil.example) [x";
    let index = Index::build(vec![
        passage("/a)(b#c d", titled, "<b>", "en", hostile),
        passage("//evil.example", "Out", "", "en", "Caching that leads out."),
        passage("javascript:alert(1)", "Out", "", "en", "Caching that runs."),
    ]);
    let answer = ask(&index, "caching");
    assert_eq!(
        answer.citations.len(),
        1,
        "addresses that lead out are not cited"
    );
    assert_eq!(answer.citations[0].quote, hostile);
    let markdown = answer.markdown;
    assert!(
        markdown.ends_with(r"[Cache\](//evil.example) \[x — \<b\>](/a%29%28b#c%20d)"),
        "{markdown}"
    );
    for markup in [
        "[click]", " <img", "![p]", "https://", " `code`", "**bold**", " &lt;", "\u{202E}",
    ] {
        assert!(!markdown.contains(markup), "{markup} in {markdown}");
    }
}

#[test]
fn a_quote_that_spans_lines_stays_one_quote() {
    let text = "Caching is on.\n\n# Heading\n- item caching\r\n> outside caching";
    let index = Index::build(vec![passage("/a", "A", "", "en", text)]);
    let answer = ask(&index, "caching");
    assert!(!answer.citations.is_empty());
    for line in answer.markdown.lines().skip(1) {
        assert!(
            line.is_empty() || line.starts_with("> ") || line.starts_with("[A]("),
            "{line:?}"
        );
    }
    assert_quotes_stand(&index, &answer);
}

#[test]
fn a_passage_is_found_by_its_heading_alone() {
    let index = Index::build(vec![
        passage(
            "/a",
            "Guide",
            "Retention",
            "en",
            "It is thirty days. Then it goes. Nothing is left.",
        ),
        passage("/b", "Guide", "Other", "en", "Something else entirely."),
        passage("/c", "Guide", "Retention of nothing", "en", "  "),
        passage("/d", "Guide", "Retention", "en", "Code of an error"),
    ]);
    let answer = ask(&index, "retention");
    assert_eq!(
        answer.citations[0].quote,
        "It is thirty days. Then it goes."
    );
    assert!(answer.citations.iter().all(|citation| citation.url == "/a"));
    assert!(
        !answer.markdown.contains("(/c)"),
        "no link without a quote: {}",
        answer.markdown
    );
}

#[test]
fn sentences_apart_are_quotes_apart() {
    let text = "Keys are secret. Birds sing. Keys are safe. Keys never leave.";
    let index = Index::build(vec![passage("/a", "A", "", "en", text)]);
    let answer = ask(&index, "keys");
    let quotes: Vec<&str> = answer
        .citations
        .iter()
        .map(|citation| citation.quote.as_str())
        .collect();
    assert_eq!(
        quotes,
        ["Keys are secret.", "Keys are safe. Keys never leave."]
    );
}

#[test]
fn a_page_is_listed_once() {
    let index = Index::build(vec![
        passage("/a#x", "A", "X", "en", "One."),
        passage("/a#y", "A", "Y", "en", "Two."),
        passage("/b", "B", "", "en", "Three."),
    ]);
    let answer = ask(&index, "nothing of that");
    assert!(
        answer
            .markdown
            .ends_with("Pages to start from:\n\n- [A — X](/a#x)\n- [B](/b)"),
        "{}",
        answer.markdown
    );
}

#[test]
fn pages_to_start_from_are_front_doors_in_the_language_of_the_question() {
    let index = Index::build(site());
    for (question, first) in [
        ("hello", "\n\n- [Gatehouse](/)\n"),
        ("你好", "\n\n- [Gatehouse](/zh/)\n"),
    ] {
        let markdown = ask(&index, question).markdown;
        assert!(markdown.contains(first), "{markdown}");
    }
}

#[test]
fn whole_sentences_go_before_fragments() {
    let cells = "Retention days 30 Who decides The operator decides on the retention.";
    let text = format!("Retention. {cells} Retention Yes");
    let index = Index::build(vec![passage("/a", "Table", "", "en", &text)]);
    let quote = &ask(&index, "retention").citations[0].quote;
    assert!(
        quote.ends_with("retention.") && !quote.contains("Yes"),
        "{quote}"
    );
}

#[test]
fn a_heading_that_repeats_the_title_is_named_once() {
    let index = Index::build(vec![passage(
        "/a",
        "Keys · Site",
        "Keys",
        "en",
        "Keys are kept.",
    )]);
    assert_eq!(ask(&index, "keys").citations[0].title, "Keys · Site");
}

#[test]
fn hostile_questions_are_answered_or_refused_but_never_break() {
    let index = Index::build(site());
    let long = |text: &str| text.repeat(1024 * 1024 / text.len());
    let questions = [
        long("cache "),
        long("a"),
        long("缓"),
        long("🦀"),
        long("\u{202E}"),
        long("e\u{301}"),
        long("a.b_c/"),
        "\0\u{1}\u{7F}\u{1B}[31m cache \u{85}".to_owned(),
        "\u{202E}ehcac\u{202C} cache\u{200B}".to_owned(),
        "> quote [x](y) <script> cache".to_owned(),
    ];
    for question in &questions {
        let answer = ask(&index, question);
        assert_quotes_stand(&index, &answer);
        assert!(answer.markdown.len() < 8 * 1024);
        assert_eq!(split_for_stream(&answer.markdown).concat(), answer.markdown);
    }
    assert_eq!(ask(&index, &questions[0]).citations[0].url, "/docs/cache");
    // What stands behind the cap is not read.
    let behind = format!("{}cache", " ".repeat(4096));
    assert!(ask(&index, &behind).citations.is_empty());
}

#[test]
fn an_index_is_read_back_as_it_was_built() {
    for passages in [Vec::new(), site()] {
        let index = Index::build(passages);
        let json = index.to_json().unwrap();
        assert_eq!(Index::from_json(json.as_bytes()).as_ref(), Ok(&index));
    }
}

#[test]
fn the_stored_form_is_pinned() {
    // A site's index is read by a Worker of the same build, but a cached asset may be older: a change of this form,
    // or of the terms, takes a new version number.
    let index = Index::build(vec![
        passage("/a", "A", "Caches", "en", "Cached 缓存."),
        passage("/b", "B", "", "en", "Other caching."),
    ]);
    assert_eq!(
        index.to_json().unwrap(),
        r#"{"version":1,"passages":[["/a","A","Caches","Cached 缓存.","en"],["/b","B","","Other caching.","en"]],"lengths":[5,4],"terms":"b cach other 存 缓 缓存","frequencies":[1,2,1,1,1,1],"postings":[2,2,1,4,1,1,2,1,1,1,1,1,1,1]}"#
    );
}

#[test]
fn a_damaged_index_is_an_error() {
    let json = Index::build(vec![
        passage("/a", "A", "", "en", "one two"),
        passage("/b", "B", "", "en", "two three"),
    ])
    .to_json()
    .unwrap();
    let read = |json: &str| Index::from_json(json.as_bytes());
    assert!(read(&json).is_ok());
    let change = |from: &str, to: &str| {
        assert!(json.contains(from), "{from} not in {json}");
        read(&json.replacen(from, to, 1))
    };
    for version in [0, 2] {
        let to = format!("\"version\":{version}");
        assert_eq!(
            change("\"version\":1", &to),
            Err(IndexError::Version { found: version })
        );
    }
    assert_eq!(
        read(r#"{"version":7,"other":[]}"#),
        Err(IndexError::Version { found: 7 })
    );
    for not_an_index in [
        "",
        "{}",
        "[]",
        "null",
        "{\"version\":1}",
        &json[..json.len() - 1],
    ] {
        let error = read(not_an_index);
        assert!(
            matches!(error, Err(IndexError::Json { .. })),
            "{not_an_index}: {error:?}"
        );
    }
    let changes = [
        ("\"lengths\":[", "\"lengths\":[1,"),
        ("\"frequencies\":[", "\"frequencies\":[1,"),
        ("\"frequencies\":[1", "\"frequencies\":[2"),
        ("\"frequencies\":[1", "\"frequencies\":[0"),
        ("\"frequencies\":[1", "\"frequencies\":[4294967295"),
        ("\"postings\":[", "\"postings\":[1,1,"),
        ("\"postings\":[", "\"postings\":[0"),
        ("\"postings\":[2", "\"postings\":[3"),
        ("\"postings\":[2", "\"postings\":[4294967295"),
        ("\"postings\":[2", "\"postings\":[0"),
        ("\"terms\":\"", "\"terms\":\" "),
        ("\"terms\":\"", "\"terms\":\"zzz "),
        ("\"postings\":[2,2", "\"postings\":[2,0"),
        ("]}", ",1,1]}"),
        ("],\"postings\"", ",1],\"postings\""),
        ("b on", "on b"),
        ("b on", "b  on"),
    ];
    for (from, to) in changes {
        let error = change(from, to);
        let damaged = matches!(
            error,
            Err(IndexError::Inconsistent { .. } | IndexError::Json { .. })
        );
        assert!(damaged, "{from} → {to}: {error:?}");
    }
    let without_postings =
        r#"{"version":1,"passages":[],"lengths":[],"terms":"a","frequencies":[0],"postings":[]}"#;
    assert!(matches!(
        read(without_postings),
        Err(IndexError::Inconsistent { .. })
    ));
}

/// Invariant of the whole module: a quote is a piece of the passage that it cites, and its words are in the answer.
fn assert_quotes_stand(index: &Index, answer: &Answer) {
    for citation in &answer.citations {
        let stands = index
            .passages()
            .iter()
            .any(|passage| passage.url == citation.url && passage.text.contains(&citation.quote));
        assert!(
            stands,
            "{:?} does not stand in {}",
            citation.quote, citation.url
        );
        assert!(!citation.quote.trim().is_empty());
    }
    let shown = answer.markdown.matches("\n\n> ").count();
    assert_eq!(shown, answer.citations.len(), "each quote is shown once");
}

fn any_text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => "(cache|caches|limit|key|visitor|upload|缓存|限制|访客|的|请求|OPENAI_API_KEY|v1/files)",
        1 => "\\PC{1,6}",
        1 => "[.!?。！？；\\n\t*_\\[\\]()<>`#|~\\\\&:/@-]{1,4}",
    ];
    let between = prop_oneof![3 => " ", 1 => "", 1 => ". ", 1 => "。"];
    proptest::collection::vec((word, between), 0..40).prop_map(|parts| {
        parts
            .into_iter()
            .flat_map(|(word, gap)| [word, gap])
            .collect()
    })
}

proptest! {
    #[test]
    fn every_quote_stands_in_the_passage_it_cites(
        rows in proptest::collection::vec((any_text(), any_text(), any_text()), 0..8),
        question in any_text(),
    ) {
        let passages = rows.into_iter().enumerate().map(|(number, (page, heading, text))| {
            passage(&format!("/p{number}"), &page, &heading, "en", &text)
        });
        let index = Index::build(passages.collect());
        let answer = ask(&index, &question);
        assert_quotes_stand(&index, &answer);
        let cited: BTreeSet<&str> = answer.citations.iter().map(|citation| citation.url.as_str()).collect();
        assert!(cited.len() <= 3);
        let stored = index.to_json().unwrap();
        assert_eq!(Index::from_json(stored.as_bytes()).as_ref(), Ok(&index));
    }

    #[test]
    fn every_word_of_a_passage_finds_it(text in any_text()) {
        let index = Index::build(vec![passage("/a", "", "", "en", &text)]);
        if index.to_json().unwrap().contains(r#""terms":"""#) {
            return Ok(());
        }
        assert_eq!(index.search(&text, 1).len(), 1);
    }

    #[test]
    fn a_changed_byte_is_an_error_or_an_index_that_still_answers(
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut json = Index::build(site()).to_json().unwrap().into_bytes();
        let place = place.index(json.len());
        json[place] = byte;
        if let Ok(index) = Index::from_json(&json) {
            assert_quotes_stand(&index, &ask(&index, "How do I set my OpenAI key?"));
            assert_quotes_stand(&index, &ask(&index, "哪些回答会被缓存？"));
        }
    }
}
