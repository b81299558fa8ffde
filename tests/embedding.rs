//! The embedder against the reference, and at its bounds. Needs the shipped model (`refrain model fetch`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use base64::Engine;
use refrain::config;
use refrain::embed::{EmbedError, Embedder, Embedding, Manifest, Model, Prefix, WorkerSettings};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

fn settings(model: &str) -> config::Embedding {
    config::Embedding { model: model.into(), models_dir: models(), device: config::Device::Cpu, ..Default::default() }
}

fn start(model: &str, queue: usize) -> Embedder {
    let settings = settings(model);
    let worker = WorkerSettings { queue, max_tokens: settings.max_tokens, batch_tokens: settings.batch_tokens };
    Embedder::start(Model::load(&settings).unwrap(), worker).unwrap()
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

fn agrees(made: &Embedding, reference: &[f32], text: &str) {
    let cosine: f64 = made.as_slice().iter().zip(reference).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    assert!(cosine >= 0.9999, "{cosine} for {text:?}");
}

/// All at once, so that texts of all lengths share padded batches.
async fn embed_all<'t>(
    embedder: &Embedder,
    texts: impl Iterator<Item = &'t str>,
) -> Vec<refrain::embed::TextEmbedding> {
    let made = futures_util::future::join_all(texts.map(|text| embedder.embed(text, Prefix::Query))).await;
    made.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn embeddings_agree_with_onnx_runtime_alone_and_in_batches() {
    let embedder = start("all-MiniLM-L6-v2", 100);
    let references = references();
    let together = embed_all(&embedder, references.iter().map(|reference| &*reference.text)).await;
    for (reference, batched) in references.iter().zip(&together) {
        let alone = embedder.embed(&reference.text, Prefix::Query).await.unwrap();
        agrees(&alone.vector, &reference.mean, &reference.text);
        agrees(&batched.vector, &reference.mean, &reference.text);
        assert_eq!(alone.tokens, reference.tokens, "{:?}", reference.text);
    }
}

#[tokio::test]
async fn cls_pooling_agrees_too_and_a_query_prefix_is_put_before_prompts() {
    let copy = copy();
    manifest(copy.path(), "cls", 384, 256);
    let embedder = start(copy.path().to_str().unwrap(), 100);
    for reference in references() {
        let made = embedder.embed(&reference.text, Prefix::Query).await.unwrap();
        agrees(&made.vector, &reference.cls, &reference.text);
    }

    let text = "pooling = \"mean\"\ndimension = 384\nwindow = 256\nquery_prefix = \"query: \"\n";
    std::fs::write(copy.path().join("manifest.toml"), text).unwrap();
    let prefixed = start(copy.path().to_str().unwrap(), 100);
    let plain = start("all-MiniLM-L6-v2", 100);
    let made = prefixed.embed("reset my password", Prefix::Query).await.unwrap();
    let by_hand = plain.embed("query: reset my password", Prefix::Query).await.unwrap();
    agrees(&made.vector, by_hand.vector.as_slice(), "query prefix");
    assert_ne!(prefixed.identity().digest, plain.identity().digest);
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

#[tokio::test]
async fn long_texts_are_embedded_to_their_end_and_too_long_ones_are_refused() {
    let embedder = start("all-MiniLM-L6-v2", 10);
    let text = "The river rises in the hills and flows slowly to the sea. ".repeat(60);
    let one = embedder.embed(&format!("{text} Who owns the boat?"), Prefix::Query).await.unwrap();
    let two = embedder.embed(&format!("{text} SELECT * FROM invoices;"), Prefix::Query).await.unwrap();
    assert!(one.blurred && one.tokens > 700);
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
    assert!(cat.vector.cosine(&dog.vector).get() > 0.999 && cat.blurred && dog.blurred);
    assert!(embed(&"x".repeat(101)).await.blurred);
    assert!(!embed("How do I reset my password?").await.blurred);
    assert!(!embed("Wie setze ich mein Passwort zur\u{fc}ck?").await.blurred);
}

#[tokio::test]
async fn a_full_queue_turns_callers_away_and_those_who_gave_up_make_room() {
    let embedder = start("all-MiniLM-L6-v2", 4);
    let text = "a rather long text to keep the model busy ".repeat(25);
    let mut waiting: Vec<_> = (0..12).map(|_| Box::pin(embedder.embed(&text, Prefix::Query))).collect();
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
