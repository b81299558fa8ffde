"""Writes embeddings.json: what ONNX Runtime makes of some texts with the weights in models/all-MiniLM-L6-v2.

Set up once:  python3 -m venv V && V/bin/pip install onnx onnxruntime safetensors tokenizers numpy
Run:          V/bin/python tests/reference/make_embeddings.py

The graph is built here from the description of BERT (Devlin et al. 2019, section 3, and the activation in the model's
config.json), so that it shares nothing with the program but the weights. tests/embedding.rs compares.
"""
import base64, json, pathlib
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto, helper
from safetensors.numpy import load_file
from tokenizers import Tokenizer

here = pathlib.Path(__file__).parent
model = here.parent.parent / "models" / "all-MiniLM-L6-v2"
config = json.loads((model / "config.json").read_text())
weights = load_file(model / "model.safetensors")
heads, hidden, layers = config["num_attention_heads"], config["hidden_size"], config["num_hidden_layers"]
nodes, constants = [], {}

def const(name, array):
    constants[name] = helper.make_tensor(name, TensorProto.INT64 if array.dtype == np.int64 else TensorProto.FLOAT, array.shape, array.flatten())
    return name

def op(kind, *inputs, **attributes):
    out = f"n{len(nodes)}"
    nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
    return out

def scalar(value):
    return const(f"c{len(constants)}", np.array(value, np.float32))

def shape(*dims):
    return const(f"c{len(constants)}", np.array(dims, np.int64))

def weight(name):
    return const(name, weights[name])

def linear(x, name):
    return op("Add", op("MatMul", x, const(f"{name}.T", np.ascontiguousarray(weights[f"{name}.weight"].T))), weight(f"{name}.bias"))

def layer_norm(x, name):
    return op("LayerNormalization", x, weight(f"{name}.weight"), weight(f"{name}.bias"), epsilon=config["layer_norm_eps"], axis=-1)

def gelu(x):
    half = op("Mul", x, scalar(0.5))
    return op("Mul", half, op("Add", op("Erf", op("Div", x, scalar(2.0**0.5))), scalar(1.0)))

def split_heads(x):
    return op("Transpose", op("Reshape", x, shape(1, -1, heads, hidden // heads)), perm=[0, 2, 1, 3])

x = op("Add", op("Gather", weight("embeddings.word_embeddings.weight"), "ids"), op("Gather", weight("embeddings.position_embeddings.weight"), "positions"))
kind = const("kind", weights["embeddings.token_type_embeddings.weight"][0])
x = layer_norm(op("Add", x, kind), "embeddings.LayerNorm")
for i in range(layers):
    name = f"encoder.layer.{i}"
    q, k, v = (split_heads(linear(x, f"{name}.attention.self.{part}")) for part in ("query", "key", "value"))
    scores = op("Mul", op("MatMul", q, op("Transpose", k, perm=[0, 1, 3, 2])), scalar((hidden // heads) ** -0.5))
    mixed = op("Transpose", op("MatMul", op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    mixed = linear(op("Reshape", mixed, shape(1, -1, hidden)), f"{name}.attention.output.dense")
    x = layer_norm(op("Add", mixed, x), f"{name}.attention.output.LayerNorm")
    wide = gelu(linear(x, f"{name}.intermediate.dense"))
    x = layer_norm(op("Add", linear(wide, f"{name}.output.dense"), x), f"{name}.output.LayerNorm")
nodes.append(helper.make_node("Identity", [x], ["hidden"]))
ints = lambda name: helper.make_tensor_value_info(name, TensorProto.INT64, [1, None])
graph = helper.make_graph(nodes, "bert", [ints("ids"), ints("positions")], [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, None, hidden])], list(constants.values()))
session = ort.InferenceSession(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())

tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
tokenizer.no_padding()
tokenizer.no_truncation()
unit = lambda v: base64.b64encode((v / np.linalg.norm(v)).astype("<f4").tobytes()).decode()

TEXTS = [
    "a", "Hello", "How do I reset my password?", "how can i reset my password", "What is the capital of France?",
    "The quick brown fox jumps over the lazy dog.", "Wie setze ich mein Passwort zurück?", "パスワードをリセットするには", "Как сбросить пароль?",
    "🙂 emoji only? no: 🚀🚀", "fn main() { println!(\"{}\", 1 + 1); }", "SELECT * FROM users WHERE id = 42;", "1234567890 3.14159 -7e10",
    "   spaces\tand\nnewlines   ", "don't won't can't shouldn't", "https://example.com/a/b?c=d#e", "ALL CAPS SHOUTING", "!!! ??? ...",
    "antidisestablishmentarianism supercalifragilisticexpialidocious", "naïve café Ångström", "\u0000control\u0007 characters",
    " ".join(["The bank by the river was closed on Monday."] * 6), " ".join(["word"] * 250), "x" * 300,
]
made = []
for text in TEXTS:
    ids = np.array([tokenizer.encode(text).ids], np.int64)
    assert ids.shape[1] <= 256, (ids.shape, text[:20])
    states = session.run(None, {"ids": ids, "positions": np.arange(ids.shape[1], dtype=np.int64)[None]})[0][0]
    made.append({"text": text, "tokens": ids.shape[1] - 2, "mean": unit(states.mean(0)), "cls": unit(states[0])})
(here / "embeddings.json").write_text(json.dumps(made, indent=0, ensure_ascii=False) + "\n")
print(len(made), "texts")
