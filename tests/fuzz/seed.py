"""Writes the first inputs of the corpora: python tests/fuzz/seed.py. Those that fuzzing adds are named by their hash."""
import json
import pathlib
import struct
import subprocess
import zipfile

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent / "golden"


def put(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def tensors(header, data):
    return struct.pack("<Q", len(header)) + header + data


def safetensors():
    put("safetensors", "all_types", (GOLDEN / "format/all_types.safetensors").read_bytes())
    put("safetensors", "f8", (GOLDEN / "format/f8.safetensors").read_bytes())
    entry = b'"%s":{"dtype":"F32","shape":[%s],"data_offsets":[%d,%d]}'
    put("safetensors", "overlap", tensors(b"{" + entry % (b"a", b"2", 0, 8) + b"," + entry % (b"b", b"2", 4, 12) + b"}", bytes(12)))
    put("safetensors", "hole", tensors(b"{" + entry % (b"a", b"1", 0, 4) + b"," + entry % (b"b", b"1", 8, 12) + b"}", bytes(12)))
    put("safetensors", "huge", tensors(b"{" + entry % (b"a", b"1152921504606846976,16", 0, 4) + b"}", bytes(4)))
    put("safetensors", "twice", tensors(b"{" + entry % (b"a", b"1", 0, 4) + b"," + entry % (b"a", b"1", 4, 8) + b"}", bytes(8)))
    put("safetensors", "long", struct.pack("<Q", 2**63) + b"{}")
    put("safetensors", "deep", tensors(b'{"a":' * 3000, b""))
    put("safetensors", "index", b'{"metadata":{},"weight_map":{"a":"s.safetensors"}}')
    put("safetensors", "index_out", b'{"weight_map":{"a":"../s.safetensors","b":"/s.safetensors"}}')


def npy():
    for path in sorted((GOLDEN / "format").glob("*.npy")):
        put("npy", path.stem, path.read_bytes())


def jsonl():
    lines = b'{"text": "one"}\r\n\n{"id": 1, "text": "\\u00e9\\ud83d\\ude00\\u0000"}\n{"text": ""}'
    packed = subprocess.run(["zstd", "-c"], input=lines, capture_output=True, check=True).stdout
    put("jsonl", "lines", b"\0" + lines)
    put("jsonl", "text", b"\1" + "Größe \0 \r\n".encode())
    put("jsonl", "lines_packed", b"\2" + packed)
    put("jsonl", "text_packed", b"\3" + packed + packed)
    put("jsonl", "cut", b"\2" + packed[:-5])
    put("jsonl", "surrogate", b'\0{"text": "\\ud800"}')


def config():
    for path in sorted((GOLDEN / "models").glob("*/config.json")):
        put("config", path.parent.name, json.dumps(json.loads(path.read_text())).encode())


def archives():
    for path in sorted((GOLDEN / "format").glob("*.npz")):
        put("zip", path.stem, b"\0" + path.read_bytes())
    for path in sorted((GOLDEN / "format").glob("*.pt")):
        put("zip", path.stem + "_pt", b"\1" + path.read_bytes())
        if zipfile.is_zipfile(path):
            archive = zipfile.ZipFile(path)
            put("pickle", path.stem, archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl"))))
    put("pickle", "itself", b"\x80\x02]q\0h\0a.")
    put("pickle", "marks", b"\x80\x02" + b"(" * 400 + b"t" * 400 + b".")


def sae_config():
    for path in sorted((GOLDEN / "sae").glob("*/cfg.json")):
        put("sae_config", path.parent.name, json.dumps(json.loads(path.read_text())).encode())
    put("sae_config", "flat", b'{"d_in": 4, "d_sae": 8, "hook_point": "blocks.0.hook_z", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}, '
        b'"normalize_activations": true, "prepend_bos": true}')


if __name__ == "__main__":
    safetensors()
    npy()
    jsonl()
    config()
    archives()
    sae_config()
