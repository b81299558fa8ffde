//! Providers that are known by name, so that `kind` and a key are enough. docs/providers.md shows this table, and a test
//! holds the two together.
//!
//! Sources of what a provider refuses are its own reference and the messages of its errors; what isn't known for sure isn't here.

use serde::{Deserialize, Deserializer};

/// How alike a name must be to one that is known to be suggested (Jaro-Winkler, 0 to 1). Arbitrary: a test shows what it lets
/// through.
const ALIKE: f64 = 0.8;

/// Which API a provider speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenAI's, which most others speak too.
    #[default]
    Openai,
    /// OpenAI's at Microsoft: the model is a deployment and stands in the address.
    Azure,
    /// Anthropic's messages.
    Anthropic,
    /// Google's `generateContent`, with an API key.
    Gemini,
    /// The same in Google's cloud, with a token.
    Vertex,
    /// Amazon's Converse.
    Bedrock,
}

/// A provider that is known by name.
#[derive(Debug, PartialEq)]
pub struct Preset {
    /// As `kind` says it.
    pub name: &'static str,
    /// As people say it.
    pub title: &'static str,
    /// Which API it speaks.
    pub api: ProviderKind,
    /// Where it is, with the names of settings in braces: `https://{resource}.openai.azure.com/openai`.
    pub address: &'static str,
    /// The settings that the address needs, and the environment variables that say them where the settings don't.
    pub address_settings: &'static [(&'static str, &'static [&'static str])],
    /// The environment variables that the key is usually in. None: it needs no key, or has no kind of key.
    pub key_variables: &'static [&'static str],
    /// What it is known to refuse in a chat.
    pub chat: ChatQuirks,
    /// Whether a stream tells what it used without being asked to by `stream_options.include_usage`.
    pub streams_usage: bool,
    /// Whether it answers `POST /responses` as OpenAI does; none where that isn't known for sure.
    pub responses: Option<bool>,
}

/// What a provider is known to refuse in a chat completion, though it means something that the provider can do, or nothing
/// that the answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatQuirks {
    /// Members that it knows by another name.
    pub renamed: &'static [(&'static str, &'static str)],
    /// Members that are left out. None of them changes an answer: what does is left in, for the provider to refuse.
    pub left_out: &'static [&'static str],
}

impl ChatQuirks {
    /// Nothing is known.
    pub const NONE: Self = Self { renamed: &[], left_out: &[] };
}

/// What most of them are like.
const USUAL: Preset = Preset {
    name: "",
    title: "",
    api: ProviderKind::Openai,
    address: "",
    address_settings: &[],
    key_variables: &[],
    chat: ChatQuirks::NONE,
    streams_usage: false,
    responses: None,
};

/// All of them.
pub static PRESETS: &[Preset] = &[
    Preset {
        name: "openai",
        title: "OpenAI",
        address: "https://api.openai.com/v1",
        key_variables: &["OPENAI_API_KEY"],
        responses: Some(true),
        ..USUAL
    },
    Preset {
        name: "azure",
        title: "Azure OpenAI",
        api: ProviderKind::Azure,
        address: "https://{resource}.openai.azure.com/openai",
        address_settings: &[("resource", &[])],
        key_variables: &["AZURE_OPENAI_API_KEY"],
        ..USUAL
    },
    Preset {
        name: "anthropic",
        title: "Anthropic",
        api: ProviderKind::Anthropic,
        address: "https://api.anthropic.com/v1",
        key_variables: &["ANTHROPIC_API_KEY"],
        streams_usage: true,
        ..USUAL
    },
    Preset {
        name: "gemini",
        title: "Google Gemini API",
        api: ProviderKind::Gemini,
        address: "https://generativelanguage.googleapis.com/v1beta",
        key_variables: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        streams_usage: true,
        ..USUAL
    },
    Preset {
        name: "vertex",
        title: "Google Vertex AI",
        api: ProviderKind::Vertex,
        address: "https://{location}-aiplatform.googleapis.com/v1/projects/{project}/locations/{location}/publishers/google",
        address_settings: &[
            ("project", &["GOOGLE_CLOUD_PROJECT"]),
            ("location", &["GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION"]),
        ],
        streams_usage: true,
        ..USUAL
    },
    Preset {
        name: "bedrock",
        title: "Amazon Bedrock",
        api: ProviderKind::Bedrock,
        address: "https://bedrock-runtime.{region}.amazonaws.com",
        address_settings: &[("region", &["AWS_REGION", "AWS_DEFAULT_REGION"])],
        key_variables: &["AWS_BEARER_TOKEN_BEDROCK"],
        streams_usage: true,
        ..USUAL
    },
    Preset {
        name: "mistral",
        title: "Mistral AI",
        address: "https://api.mistral.ai/v1",
        key_variables: &["MISTRAL_API_KEY"],
        // It answers 422, `extra_forbidden`, to every member that it doesn't know.
        chat: ChatQuirks {
            renamed: &[("seed", "random_seed"), ("max_completion_tokens", "max_tokens")],
            left_out: &["stream_options", "store", "user"],
        },
        streams_usage: true,
        responses: Some(false),
        ..USUAL
    },
    Preset {
        name: "scaleway",
        title: "Scaleway Generative APIs",
        address: "https://api.scaleway.ai/v1",
        key_variables: &["SCW_SECRET_KEY"],
        responses: Some(true),
        ..USUAL
    },
    Preset {
        name: "deepseek",
        title: "DeepSeek",
        address: "https://api.deepseek.com/v1",
        key_variables: &["DEEPSEEK_API_KEY"],
        responses: Some(false),
        ..USUAL
    },
    Preset {
        name: "nebius",
        title: "Nebius Token Factory",
        address: "https://api.tokenfactory.nebius.com/v1",
        key_variables: &["NEBIUS_API_KEY"],
        ..USUAL
    },
    Preset {
        name: "cloudflare",
        title: "Cloudflare Workers AI",
        address: "https://api.cloudflare.com/client/v4/accounts/{account_id}/ai/v1",
        address_settings: &[("account_id", &["CLOUDFLARE_ACCOUNT_ID"])],
        key_variables: &["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_KEY"],
        responses: Some(true),
        ..USUAL
    },
    Preset {
        name: "openrouter",
        title: "OpenRouter",
        address: "https://openrouter.ai/api/v1",
        key_variables: &["OPENROUTER_API_KEY"],
        streams_usage: true,
        responses: Some(true),
        ..USUAL
    },
    Preset {
        name: "groq",
        title: "Groq",
        address: "https://api.groq.com/openai/v1",
        key_variables: &["GROQ_API_KEY"],
        chat: ChatQuirks { left_out: &["metadata", "store"], ..ChatQuirks::NONE },
        responses: Some(true),
        ..USUAL
    },
    Preset {
        name: "together",
        title: "Together AI",
        address: "https://api.together.xyz/v1",
        key_variables: &["TOGETHER_API_KEY"],
        ..USUAL
    },
    Preset {
        name: "fireworks",
        title: "Fireworks AI",
        address: "https://api.fireworks.ai/inference/v1",
        key_variables: &["FIREWORKS_API_KEY"],
        responses: Some(true),
        ..USUAL
    },
    Preset {
        name: "xai",
        title: "xAI",
        address: "https://api.x.ai/v1",
        key_variables: &["XAI_API_KEY"],
        responses: Some(true),
        ..USUAL
    },
    Preset {
        name: "cerebras",
        title: "Cerebras",
        address: "https://api.cerebras.ai/v1",
        key_variables: &["CEREBRAS_API_KEY"],
        chat: ChatQuirks { left_out: &["store"], ..ChatQuirks::NONE },
        responses: Some(false),
        ..USUAL
    },
    Preset {
        name: "perplexity",
        title: "Perplexity",
        address: "https://api.perplexity.ai",
        key_variables: &["PERPLEXITY_API_KEY"],
        streams_usage: true,
        ..USUAL
    },
    Preset {
        name: "huggingface",
        title: "Hugging Face Inference Providers",
        address: "https://router.huggingface.co/v1",
        key_variables: &["HF_TOKEN"],
        responses: Some(true),
        ..USUAL
    },
    Preset {
        name: "deepinfra",
        title: "DeepInfra",
        address: "https://api.deepinfra.com/v1/openai",
        key_variables: &["DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"],
        ..USUAL
    },
    Preset {
        name: "sambanova",
        title: "SambaNova Cloud",
        address: "https://api.sambanova.ai/v1",
        key_variables: &["SAMBANOVA_API_KEY"],
        ..USUAL
    },
    Preset {
        name: "nvidia",
        title: "NVIDIA NIM",
        address: "https://integrate.api.nvidia.com/v1",
        key_variables: &["NVIDIA_API_KEY"],
        ..USUAL
    },
    Preset {
        name: "moonshot",
        title: "Moonshot AI",
        address: "https://api.moonshot.ai/v1",
        key_variables: &["MOONSHOT_API_KEY"],
        ..USUAL
    },
    Preset {
        name: "cohere",
        title: "Cohere",
        address: "https://api.cohere.ai/compatibility/v1",
        key_variables: &["COHERE_API_KEY", "CO_API_KEY"],
        responses: Some(false),
        ..USUAL
    },
    Preset {
        name: "ollama",
        title: "Ollama",
        address: "http://127.0.0.1:11434/v1",
        // It ignores the newer name, and the bound with it.
        chat: ChatQuirks { renamed: &[("max_completion_tokens", "max_tokens")], ..ChatQuirks::NONE },
        responses: Some(true),
        ..USUAL
    },
    Preset { name: "vllm", title: "vLLM", address: "http://127.0.0.1:8000/v1", responses: Some(true), ..USUAL },
    Preset {
        name: "llama-cpp",
        title: "llama.cpp's server",
        address: "http://127.0.0.1:8080/v1",
        responses: Some(true),
        ..USUAL
    },
    Preset {
        name: "lm-studio",
        title: "LM Studio",
        address: "http://127.0.0.1:1234/v1",
        responses: Some(true),
        ..USUAL
    },
];

impl Preset {
    /// What `kind` is where it isn't set.
    #[must_use]
    pub fn openai() -> &'static Self {
        &PRESETS[0]
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The address, with what `setting` says of each setting that it names; the first one that isn't said, where one isn't.
    pub(super) fn address_with<'s>(&self, setting: impl Fn(&str) -> Option<&'s str>) -> Result<String, &'static str> {
        self.address_settings.iter().try_fold(self.address.to_owned(), |address, (name, _)| {
            Ok(address.replace(&format!("{{{name}}}"), setting(name).ok_or(*name)?))
        })
    }
}

/// What to say of a name that is none of theirs.
fn unknown(name: &str) -> String {
    let lower = name.to_lowercase();
    let alike = |preset: &&Preset| strsim::jaro_winkler(preset.name, &lower);
    let nearest = PRESETS.iter().max_by(|a, b| alike(a).total_cmp(&alike(b))).filter(|preset| alike(preset) >= ALIKE);
    let all = PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ");
    match nearest {
        Some(preset) => format!("unknown kind `{name}`; did you mean `{}`? Known are: {all}", preset.name),
        None => {
            format!("unknown kind `{name}`; use `openai` for an API like OpenAI's, with its base_url. Known are: {all}")
        }
    }
}

/// `kind`, in settings.
pub(super) fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'static Preset>, D::Error> {
    let name = String::deserialize(deserializer)?;
    Preset::named(&name).map(Some).ok_or_else(|| serde::de::Error::custom(unknown(&name)))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn names_are_distinct_and_openai_is_the_first() {
        assert_eq!(Preset::openai().name, "openai");
        let names: std::collections::BTreeSet<_> = PRESETS.iter().map(|preset| preset.name).collect();
        assert_eq!(names.len(), PRESETS.len());
        // Others rely on these.
        for name in ["openai", "azure", "anthropic", "gemini", "vertex", "bedrock"] {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn every_address_is_one_once_its_settings_are_known() {
        for preset in PRESETS {
            let address = preset.address_with(|_| Some("x-1")).unwrap();
            let url = reqwest::Url::parse(&address).unwrap();
            assert!(!address.contains(['{', '}']) && url.has_host() && !address.ends_with('/'), "{address}");
            let is_local = url.host_str() == Some("127.0.0.1");
            assert_eq!(url.scheme(), if is_local { "http" } else { "https" }, "{address}");
            assert!(
                is_local || preset.api == ProviderKind::Vertex || !preset.key_variables.is_empty(),
                "{}",
                preset.name
            );
            match preset.address_settings.first() {
                Some((name, _)) => assert_eq!(preset.address_with(|_| None), Err(*name)),
                None => assert_eq!(address, preset.address),
            }
        }
    }

    #[test]
    fn a_name_that_is_nearly_right_is_suggested() {
        for (said, meant) in [
            ("mistrl", "mistral"),
            ("Mistral", "mistral"),
            ("llama.cpp", "llama-cpp"),
            ("lmstudio", "lm-studio"),
            ("x.ai", "xai"),
        ] {
            assert!(unknown(said).contains(&format!("did you mean `{meant}`")), "{}", unknown(said));
        }
        for said in ["", "foo", "acme"] {
            assert!(!unknown(said).contains("did you mean"), "{}", unknown(said));
            assert!(unknown(said).contains("mistral, scaleway"));
        }
    }

    /// The table of docs/providers.md, in Markdown.
    fn markdown() -> String {
        let mut table =
            "| `kind` | provider | address | key | changed in chats | usage in streams | Responses |\n".to_owned();
        table.push_str("|---|---|---|---|---|---|---|\n");
        let code = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let or_dash = |text: String| if text.is_empty() { "–".to_owned() } else { text };
        for preset in PRESETS {
            let renamed = preset.chat.renamed.iter().map(|(from, to)| format!("`{from}` → `{to}`"));
            let left_out = preset.chat.left_out.iter().map(|name| format!("no `{name}`"));
            let changed: Vec<String> = renamed.chain(left_out).collect();
            let _ = writeln!(
                table,
                "| `{}` | {} | `{}` | {} | {} | {} | {} |",
                preset.name,
                preset.title,
                preset.address,
                or_dash(code(preset.key_variables)),
                or_dash(changed.join(", ")),
                if preset.streams_usage { "always" } else { "on request" },
                match preset.responses {
                    _ if !matches!(preset.api, ProviderKind::Openai | ProviderKind::Azure) => "–",
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "not known",
                },
            );
        }
        table
    }

    #[test]
    fn the_page_about_providers_shows_this_table() {
        let page = include_str!("../../docs/providers.md");
        assert!(page.contains(&markdown()), "docs/providers.md lacks this table:\n{}", markdown());
    }
}
