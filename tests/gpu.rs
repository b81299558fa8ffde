//! The embedder on an NVIDIA GPU against the CPU: `make test-gpu`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use refrain::config::{self, Device, Engine};
use refrain::embed::{Embedding, Model};

fn load(device: Device) -> Model {
    let models_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    Model::load(&config::Embedding { models_dir, device, engine: Engine::Candle, ..Default::default() }).unwrap()
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_gpu_gives_the_vectors_of_the_cpu() {
    let (gpu, cpu) = (load(Device::Cuda), load(Device::Cpu));
    assert!(gpu.engine().contains("cuda"), "{}", gpu.engine());
    let cosine =
        |a: Vec<f32>, b: Vec<f32>| Embedding::normalised(a).unwrap().cosine(&Embedding::normalised(b).unwrap()).get();
    // Ids and lengths that look random.
    let mut ids = (0u32..).map(|n| 1000 + n.wrapping_mul(2_654_435_761) % 29_000);
    for (texts, longest) in [(1, 1), (1, 256), (7, 16), (64, 40), (300, 256)] {
        let texts: Vec<Vec<u32>> =
            (0..texts).map(|n| ids.by_ref().take(longest - n * 97 % longest).collect()).collect();
        let inputs: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        for (on_gpu, on_cpu) in gpu.encode(&inputs).unwrap().into_iter().zip(cpu.encode(&inputs).unwrap()) {
            let cosine = cosine(on_gpu, on_cpu);
            assert!(cosine > 0.999, "{cosine}");
        }
    }
    let long = "The river rises in the hills and flows slowly to the sea. ".repeat(100);
    for text in ["", "How do I reset my password?", &long] {
        assert!(gpu.embed(text).unwrap().vector.cosine(&cpu.embed(text).unwrap().vector).get() > 0.999);
    }
}
