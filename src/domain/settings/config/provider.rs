//! Model providers.

use serde::{Deserialize, Serialize};

use super::fault::Faults;
use super::format::{BASE_URL_RULE, NAME_RULE, VARIABLE_RULE, is_base_url, is_name, is_variable};

/// What protocol a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// OpenAI's chat completions and embeddings: OpenAI itself, Ollama, llama.cpp, vLLM and many more.
    Openai,
    /// OpenAI's Responses API, of OpenAI itself and of servers that carry it too.
    OpenaiResponses,
    /// Anthropic's messages.
    Anthropic,
    /// The built-in answerer: quotes the site's own pages, needs no network.
    Builtin,
}

/// `[[provider]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// The name that targets use.
    pub name: String,
    /// The protocol.
    pub kind: ProviderKind,
    /// Address of the API; with `/v1` for OpenAI's protocols, without for `anthropic`, as their SDKs have it.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Variable that overrides `base_url`.
    #[serde(default)]
    pub base_url_var: Option<String>,
    /// Name of the secret that holds the key.
    #[serde(default)]
    pub key: Option<String>,
}

pub(super) fn check_providers(providers: &[Provider], faults: &mut Faults) {
    for (i, provider) in providers.iter().enumerate() {
        let key = |name: &str| format!("provider[{i}].{name}");
        faults.unless(is_name(&provider.name), key("name"), NAME_RULE);
        faults.unless(
            providers.iter().take(i).all(|p| p.name != provider.name),
            key("name"),
            "stands twice",
        );
        if let Some(url) = &provider.base_url {
            faults.unless(is_base_url(url), key("base_url"), BASE_URL_RULE);
        }
        for (name, value) in [
            ("key", &provider.key),
            ("base_url_var", &provider.base_url_var),
        ] {
            if let Some(value) = value {
                faults.unless(is_variable(value), key(name), VARIABLE_RULE);
            }
        }
        if provider.kind == ProviderKind::Builtin {
            faults.unless(
                provider.base_url.is_none()
                    && provider.base_url_var.is_none()
                    && provider.key.is_none(),
                key("kind"),
                "the built-in answerer takes no base_url, base_url_var or key",
            );
        }
    }
}
