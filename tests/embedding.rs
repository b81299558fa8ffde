//! The embedder against the reference, and at its bounds. Needs the shipped model (`refrain model fetch`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use base64::Engine as _;
use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use refrain::config::{self, Engine};
use refrain::embed::{EmbedError, Embedder, Embedding, Manifest, Model, Prefix};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

fn settings(model: &str) -> config::Embedding {
    config::Embedding { model: model.into(), models_dir: models(), device: config::Device::Cpu, ..Default::default() }
}

fn start(model: &str, queue: usize) -> Embedder {
    start_engine(model, queue, Engine::Auto)
}

fn start_engine(model: &str, queue: usize, engine: Engine) -> Embedder {
    let settings = config::Embedding { queue, engine, ..settings(model) };
    Embedder::start(Model::load(&settings).unwrap(), &settings).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// A copy of the shipped model whose large files are links.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in Manifest::REQUIRED {
        let original = models().join("all-MiniLM-L6-v2").join(file).canonicalize().unwrap();
        std::os::unix::fs::symlink(original, copy.path().join(file)).unwrap();
    }
    manifest(copy.path(), "mean", 384, 256);
    copy
}

fn manifest(directory: &Path, pooling: &str, dimension: usize, window: usize) {
    let text = format!("pooling = \"{pooling}\"\ndimension = {dimension}\nwindow = {window}\n");
    std::fs::write(directory.join("manifest.toml"), text).unwrap();
}

fn load_error(directory: &Path) -> String {
    Model::load(&settings(directory.to_str().unwrap())).err().map(|error| error.to_string()).expect("an error")
}

struct Reference {
    text: String,
    tokens: usize,
    mean: Vec<f32>,
    cls: Vec<f32>,
}

fn references() -> Vec<Reference> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/embeddings.json"));
    let list: Vec<serde_json::Value> = serde_json::from_str(&text.unwrap()).unwrap();
    let vector = |value: &serde_json::Value| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap();
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
    };
    list.iter()
        .map(|item| Reference {
            text: item["text"].as_str().unwrap().to_owned(),
            tokens: item["tokens"].as_u64().unwrap() as usize,
            mean: vector(&item["mean"]),
            cls: vector(&item["cls"]),
        })
        .collect()
}

/// How alike an engine's vectors must be to those of ONNX Runtime in 32-bit floats: each, and on average. The texts are
/// odd ones, chosen to be hard; `benches/quality.rs` measures real prompts.
fn tolerance(engine: Engine) -> (f64, f64) {
    if engine == Engine::Candle { (0.9999, 0.9999) } else { (0.994, 0.998) }
}

/// Asserts that vectors are as alike to the references as the engine promises.
fn agree<'e>(engine: Engine, pairs: impl Iterator<Item = (&'e Embedding, &'e [f32])>) {
    let cosines: Vec<f64> = pairs.map(|(made, reference)| cosine(made.as_slice(), reference)).collect();
    let (least, mean) = tolerance(engine);
    assert!(cosines.iter().all(|cosine| *cosine >= least), "{engine:?}: {cosines:?}");
    let average = cosines.iter().sum::<f64>() / cosines.len() as f64;
    assert!(average >= mean, "{engine:?}: {average} of {cosines:?}");
}

/// All at once, so that texts of all lengths share batches.
async fn embed_all<'t>(
    embedder: &Embedder,
    texts: impl Iterator<Item = &'t str>,
) -> Vec<refrain::embed::TextEmbedding> {
    let made = futures_util::future::join_all(texts.map(|text| embedder.embed(text, Prefix::Query))).await;
    made.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn every_engine_agrees_with_onnx_runtime_alone_and_in_batches() {
    for engine in Model::engines() {
        let embedder = start_engine("all-MiniLM-L6-v2", 100, engine);
        let references = references();
        let together = embed_all(&embedder, references.iter().map(|reference| &*reference.text)).await;
        // Another one, which doesn't remember.
        let embedder = start_engine("all-MiniLM-L6-v2", 100, engine);
        let mut alone = Vec::new();
        for reference in &references {
            alone.push(embedder.embed(&reference.text, Prefix::Query).await.unwrap());
        }
        for made in [&together, &alone] {
            agree(engine, made.iter().zip(&references).map(|(made, reference)| (&made.vector, &*reference.mean)));
            let tokens = made.iter().zip(&references).all(|(made, reference)| made.tokens == reference.tokens);
            assert!(tokens, "{engine:?}");
        }
    }
}

#[tokio::test]
async fn cls_pooling_agrees_too_and_a_query_prefix_is_put_before_prompts() {
    let copy = copy();
    manifest(copy.path(), "cls", 384, 256);
    for engine in Model::engines() {
        let embedder = start_engine(copy.path().to_str().unwrap(), 100, engine);
        let references = references();
        let made = embed_all(&embedder, references.iter().map(|reference| &*reference.text)).await;
        agree(engine, made.iter().zip(&references).map(|(made, reference)| (&made.vector, &*reference.cls)));
    }

    let text = "pooling = \"mean\"\ndimension = 384\nwindow = 256\nquery_prefix = \"query: \"\n";
    std::fs::write(copy.path().join("manifest.toml"), text).unwrap();
    let prefixed = start(copy.path().to_str().unwrap(), 100);
    let plain = start("all-MiniLM-L6-v2", 100);
    let made = prefixed.embed("reset my password", Prefix::Query).await.unwrap();
    let by_hand = plain.embed("query: reset my password", Prefix::Query).await.unwrap();
    assert_eq!(made.vector, by_hand.vector);
    assert_ne!(prefixed.identity().digest, plain.identity().digest);
}

#[test]
fn the_engines_are_those_whose_instructions_the_processor_has() {
    let engines: Vec<Engine> = Model::engines().collect();
    assert!(engines.contains(&Engine::Candle) && engines.contains(&Engine::Plain));
    #[cfg(target_arch = "x86_64")]
    {
        assert_eq!(
            engines.contains(&Engine::Avx2),
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
        );
        assert_eq!(engines.contains(&Engine::Avx512), is_x86_feature_detected!("avx512vnni"));
    }
}

/// As sentence-transformers lays a model out, without a manifest of ours.
#[test]
fn a_downloaded_model_directory_loads_as_it_is() {
    let copy = copy();
    std::fs::remove_file(copy.path().join("manifest.toml")).unwrap();
    assert!(load_error(copy.path()).contains("manifest.toml"));
    std::fs::create_dir(copy.path().join("1_Pooling")).unwrap();
    let pooling =
        r#"{"word_embedding_dimension": 384, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
    std::fs::write(copy.path().join("1_Pooling/config.json"), pooling).unwrap();
    std::fs::write(copy.path().join("sentence_bert_config.json"), r#"{"max_seq_length": 512}"#).unwrap();
    let model = Model::load(&settings(copy.path().to_str().unwrap())).unwrap();
    assert_eq!(model.manifest().pooling, refrain::embed::Pooling::Cls);
    assert_eq!(model.manifest().window, 512);
}

#[test]
fn what_is_wrong_with_a_model_is_said_at_load() {
    let unknown = Model::load(&settings("no-such-model")).err().unwrap().to_string();
    assert!(unknown.contains("no-such-model") && unknown.contains("all-MiniLM-L6-v2"), "{unknown}");

    let directory = copy();
    manifest(directory.path(), "mean", 768, 256);
    assert!(load_error(directory.path()).contains("hidden_size is 384, but the manifest says dimension = 768"));
    manifest(directory.path(), "mean", 384, 1024);
    assert!(load_error(directory.path()).contains("window = 1024"));
    manifest(directory.path(), "max", 384, 256);
    assert!(load_error(directory.path()).contains("manifest.toml"));

    for (file, contents, said) in [
        ("config.json", &b"{"[..], "config.json"),
        ("tokenizer.json", b"{}", "tokenizer.json"),
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0{}", "model.safetensors"),
        ("model.safetensors", b"", "model.safetensors"),
    ] {
        let directory = copy();
        std::fs::remove_file(directory.path().join(file)).unwrap();
        let missing = load_error(directory.path());
        assert!(missing.contains("is missing") && missing.contains(file), "{missing}");
        std::fs::write(directory.path().join(file), contents).unwrap();
        let message = load_error(directory.path());
        assert!(message.contains(said), "{message}");
    }

    let directory = copy();
    let text = "pooling = \"mean\"\ndimension = 384\nwindow = 256\n[files]\n\"config.json\" = \"00\"\n";
    std::fs::write(directory.path().join("manifest.toml"), text).unwrap();
    assert!(load_error(directory.path()).contains("sha256"));
}

/// What a small model is like.
#[derive(Debug, Clone, Copy)]
struct Small {
    hidden: usize,
    heads: usize,
    layers: usize,
    intermediate: usize,
    activation: &'static str,
}

const TINY: Small = Small { hidden: 32, heads: 1, layers: 1, intermediate: 64, activation: "gelu" };

/// A model with the shipped tokenizer, its weights changed by `edit` before they are written.
fn small(like: Small, edit: impl FnOnce(&mut HashMap<String, Tensor>)) -> tempfile::TempDir {
    const VOCABULARY: usize = 30_522;
    const POSITIONS: usize = 64;
    let Small { hidden, heads, layers, intermediate, activation } = like;
    let directory = tempfile::tempdir().unwrap();
    let tokenizer = models().join("all-MiniLM-L6-v2/tokenizer.json").canonicalize().unwrap();
    std::os::unix::fs::symlink(tokenizer, directory.path().join("tokenizer.json")).unwrap();
    manifest(directory.path(), "mean", hidden, POSITIONS);
    let config = serde_json::json!({
        "model_type": "bert", "vocab_size": VOCABULARY, "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": intermediate, "hidden_act": activation,
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    });
    std::fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize]| {
        let mut state = name.bytes().fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let count = shape.iter().product::<usize>();
        let width = shape[shape.len() - 1];
        let numbers = (0..count).map(|n| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            // Products keep their inputs' size, more or less: rows of unlike size, and a few inputs that are far larger than
            // the others.
            let row = (0.5 + 0.5 * (n / width % 3) as f32) * (3.0 / width as f32).sqrt();
            match shape.len() {
                2 => row * noise,
                _ if name.ends_with("LayerNorm.weight") => {
                    if n % 29 == 3 {
                        6.0
                    } else {
                        1.0 + 0.3 * noise
                    }
                }
                _ => 0.2 * noise,
            }
        });
        tensors.insert(name.clone(), Tensor::from_vec(numbers.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap());
    };
    let norm = |add: &mut dyn FnMut(String, &[usize]), name: &str| {
        add(format!("{name}.LayerNorm.weight"), &[hidden]);
        add(format!("{name}.LayerNorm.bias"), &[hidden]);
    };
    for (name, rows) in [("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2)] {
        add(format!("embeddings.{name}_embeddings.weight"), &[rows, hidden]);
    }
    norm(&mut add, "embeddings");
    for layer in (0..layers).map(|number| format!("encoder.layer.{number}")) {
        norm(&mut add, &format!("{layer}.attention.output"));
        norm(&mut add, &format!("{layer}.output"));
        for (name, outputs, inputs) in [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", intermediate, hidden),
            ("output.dense", hidden, intermediate),
        ] {
            add(format!("{layer}.{name}.weight"), &[outputs, inputs]);
            add(format!("{layer}.{name}.bias"), &[outputs]);
        }
    }
    edit(&mut tensors);
    candle_core::safetensors::save(&tensors, directory.path().join("model.safetensors")).unwrap();
    directory
}

const DENSE: &str = "encoder.layer.0.output.dense.weight";

#[test]
fn weights_of_another_type_or_kind_are_refused_with_the_reason() {
    let replaced = |with: fn(&Tensor) -> Tensor| {
        small(TINY, |tensors| {
            let tensor = with(&tensors[DENSE]);
            tensors.insert(DENSE.into(), tensor);
        })
    };
    for (directory, said) in [
        (replaced(|tensor| tensor.to_dtype(DType::F16).unwrap()), "is of type f16"),
        (replaced(|tensor| tensor.to_dtype(DType::BF16).unwrap()), "is of type bf16"),
        (replaced(|tensor| (tensor * f64::NAN).unwrap()), "not a number"),
        (replaced(|tensor| (tensor / 0.0).unwrap()), "infinite"),
        (replaced(|tensor| tensor.t().unwrap().contiguous().unwrap()), "shape [64, 32] instead of [32, 64]"),
        (small(TINY, |tensors| drop(tensors.remove(DENSE))), "it has no tensor `encoder.layer.0.output.dense.weight`"),
        (small(TINY, |tensors| tensors.retain(|name, _| !name.starts_with("encoder"))), "it has no tensor"),
    ] {
        for engine in [Engine::Auto, Engine::Plain] {
            let settings = config::Embedding { engine, ..settings(directory.path().to_str().unwrap()) };
            let message = Model::load(&settings).err().expect("an error").to_string();
            assert!(message.contains(said) && message.contains("model.safetensors"), "{message}");
        }
    }
    let cut = small(TINY, |_| ());
    let weights = cut.path().join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    for length in [7, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&weights, &whole[..length]).unwrap();
        let message = load_error(cut.path());
        assert!(message.contains("not a whole safetensors file"), "{message}");
    }
    let narrow = small(TINY, |_| ());
    let config = std::fs::read_to_string(narrow.path().join("config.json")).unwrap().replace("30522", "1000");
    std::fs::write(narrow.path().join("config.json"), config).unwrap();
    assert!(
        load_error(narrow.path()).contains("vocab_size is 1000, but the tokenizer has a token with the number 30521")
    );
}

#[test]
fn weights_may_come_with_a_head_on_them_and_under_older_names() {
    let plain = small(TINY, |_| ());
    let headed = small(TINY, |tensors| {
        let older = |name: &str| name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("Norm.bias", "Norm.beta");
        *tensors = tensors.drain().map(|(name, tensor)| (format!("bert.{}", older(&name)), tensor)).collect();
        let head = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
        tensors.insert("cls.predictions.bias".into(), head);
        let ids = Tensor::zeros((1, 64), DType::I64, &Device::Cpu).unwrap();
        tensors.insert("bert.embeddings.position_ids".into(), ids);
    });
    for engine in Model::engines() {
        let embed = |directory: &tempfile::TempDir| {
            let settings = config::Embedding { engine, ..settings(directory.path().to_str().unwrap()) };
            Model::load(&settings).unwrap().embed("reset my password").unwrap().vector
        };
        assert_eq!(embed(&plain), embed(&headed), "{engine:?}");
    }
}

#[test]
fn a_model_that_the_fast_engines_are_not_made_for_runs_on_candle() {
    let narrow = small(Small { heads: 2, ..TINY }, |_| ());
    let settings = settings(narrow.path().to_str().unwrap());
    assert_eq!(Model::load(&settings).unwrap().engine(), "candle (cpu)");
    let forced = Model::load(&config::Embedding { engine: Engine::Plain, ..settings }).err().unwrap().to_string();
    assert!(forced.contains("embedding.engine = plain") && forced.contains("width of a head (16)"), "{forced}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    /// Any tokens, texts of 1 to 512 of them, batches of 1 to 64.
    #[test]
    fn engines_agree_with_candle_on_any_tokens(
        inputs in prop_oneof![
            prop::collection::vec(prop::collection::vec(1000u32..30_522, 1..=40), 1..=64),
            prop::collection::vec(prop::collection::vec(1000u32..30_522, 1..=512), 1..=3),
        ],
    ) {
        static MODELS: LazyLock<Vec<(Engine, Model)>> = LazyLock::new(|| {
            let load = |engine| Model::load(&config::Embedding { engine, ..settings("all-MiniLM-L6-v2") }).unwrap();
            Model::engines().map(|engine| (engine, load(engine))).collect()
        });
        let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
        let (_, candle) = MODELS.iter().find(|(engine, _)| *engine == Engine::Candle).unwrap();
        let reference = candle.encode(&inputs).unwrap();
        for (engine, model) in MODELS.iter().filter(|(engine, _)| *engine != Engine::Candle) {
            for (made, reference) in model.encode(&inputs).unwrap().iter().zip(&reference) {
                let cosine = cosine(made, reference);
                prop_assert!(cosine >= 0.99, "{engine:?}: {cosine}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Any model that the fast engines take, calibrated and quantised as it is loaded.
    #[test]
    fn engines_agree_with_candle_on_models_of_any_shape(
        (width, heads, layers, inner) in (1usize..3, 1usize..5, 1usize..4, 1usize..9),
        activation in prop::sample::select(vec!["gelu", "gelu_new", "relu"]),
        inputs in prop::collection::vec(prop::collection::vec(1000u32..30_522, 1..=64), 1..=16),
    ) {
        let shape = Small { hidden: 32 * width * heads, heads, layers, intermediate: 32 * inner, activation };
        let directory = small(shape, |_| ());
        let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
        let encode = |engine| {
            let settings = config::Embedding { engine, ..settings(directory.path().to_str().unwrap()) };
            Model::load(&settings).unwrap().encode(&inputs).unwrap()
        };
        let reference = encode(Engine::Candle);
        for engine in Model::engines().filter(|engine| *engine != Engine::Candle) {
            for (made, reference) in encode(engine).iter().zip(&reference) {
                let cosine = cosine(made, reference);
                // In narrow models with outliers, bytes show; whatever is packed wrongly comes out near 0.
                prop_assert!(cosine >= 0.85, "{engine:?} of {shape:?}: {cosine}");
            }
        }
    }
}

#[tokio::test]
async fn a_short_text_does_not_wait_for_a_hundred_long_ones() {
    use futures_util::stream::{FuturesUnordered, StreamExt};

    let embedder = start("all-MiniLM-L6-v2", 200);
    let long = |n: usize| format!("Chapter {n}. {}", "The river rises in the hills and flows to the sea. ".repeat(60));
    let mut texts: Vec<String> = (0..100).map(long).collect();
    texts.push("Who owns the boat?".into());
    let embedder = &embedder;
    let mut answers: FuturesUnordered<_> =
        texts.iter().map(async |text| embedder.embed(text, Prefix::Query).await.unwrap().tokens).collect();
    let mut before = 0;
    while let Some(tokens) = answers.next().await
        && tokens > 100
    {
        before += 1;
    }
    // Without overtaking, all of them.
    assert!(before <= 5, "{before} long texts were embedded before the short one");
}

#[tokio::test]
async fn long_texts_are_embedded_to_their_end_and_too_long_ones_are_refused() {
    let embedder = start("all-MiniLM-L6-v2", 10);
    let text = "The river rises in the hills and flows slowly to the sea. ".repeat(60);
    let one = embedder.embed(&format!("{text} Who owns the boat?"), Prefix::Query).await.unwrap();
    let two = embedder.embed(&format!("{text} SELECT * FROM invoices;"), Prefix::Query).await.unwrap();
    assert!(one.lossy && one.tokens > 700);
    assert!(one.vector.cosine(&two.vector).get() < 0.999, "the end counts");
    assert_eq!(embedder.embed(&text.repeat(10), Prefix::Query).await, Err(EmbedError::TooLong(2048)));
    assert_eq!(embedder.embed(&"x".repeat(10_000_000), Prefix::Query).await, Err(EmbedError::TooLong(2048)));
    for odd in ["", " ", "\u{0}\u{7}", "\u{10ffff}", &"x".repeat(60_000)] {
        let made = embedder.embed(odd, Prefix::Query).await.unwrap();
        assert!(made.vector.as_slice().iter().all(|x| x.is_finite()), "{odd:?}");
    }
}

#[tokio::test]
async fn texts_that_the_model_cannot_tell_apart_are_known_as_such() {
    let embedder = start("all-MiniLM-L6-v2", 10);
    let embed = async |text: &str| embedder.embed(text, Prefix::Query).await.unwrap();
    let (cat, dog) = (embed("\u{732b}\u{5403}\u{4ec0}\u{4e48}").await, embed("\u{72d7}\u{5403}\u{4ec0}\u{4e48}").await);
    assert!(cat.vector.cosine(&dog.vector).get() > 0.999 && cat.lossy && dog.lossy);
    assert!(embed(&"x".repeat(101)).await.lossy);
    assert!(!embed("How do I reset my password?").await.lossy);
    assert!(!embed("Wie setze ich mein Passwort zur\u{fc}ck?").await.lossy);
}

#[tokio::test]
async fn a_full_queue_turns_callers_away_and_those_who_gave_up_make_room() {
    let embedder = start("all-MiniLM-L6-v2", 4);
    let text = "a rather long text to keep the model busy ".repeat(25);
    let texts: Vec<String> = (0..12).map(|n| format!("{n} {text}")).collect();
    let mut waiting: Vec<_> = texts.iter().map(|text| Box::pin(embedder.embed(text, Prefix::Query))).collect();
    let mut turned_away = 0;
    let mut queued = Vec::new();
    for mut one in waiting.drain(..) {
        match futures_util::poll!(&mut one) {
            std::task::Poll::Ready(Err(EmbedError::Busy(4))) => turned_away += 1,
            std::task::Poll::Ready(other) => panic!("{other:?}"),
            std::task::Poll::Pending => queued.push(one),
        }
    }
    // The thread may have taken some off the queue while others were put in.
    assert!(turned_away >= 4 && queued.len() >= 4, "{turned_away} {}", queued.len());
    drop(queued);
    loop {
        match embedder.embed("short", Prefix::Query).await {
            Ok(_) => break,
            Err(EmbedError::Busy(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}
