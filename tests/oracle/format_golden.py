"""Writes tests/golden/format: small files made by the official libraries, and hashes of their float conversions.

    python tests/oracle/format_golden.py

Element i of every tensor is i (for BOOL: i is odd), so that the test needs no second copy of the values."""
import os

import numpy as np
import safetensors
import safetensors.torch
import torch

OUT = os.path.join(os.path.dirname(__file__), "..", "golden", "format")
TYPES = {"F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
         "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool, "U16": torch.uint16,
         "U32": torch.uint32, "U64": torch.uint64}


def counting(shape, dtype):
    n = int(np.prod(shape, dtype=np.int64))
    return (torch.arange(n) % 2 if dtype == torch.bool else torch.arange(n)).reshape(shape).to(dtype)


def write_safetensors():
    tensors = {name: counting([2, 3], dtype) for name, dtype in TYPES.items()}
    tensors["scalar"] = torch.tensor(0.0, dtype=torch.float64)
    tensors["empty"] = torch.empty([0, 4])
    safetensors.torch.save_file(tensors, f"{OUT}/all_types.safetensors", metadata={"format": "pt", "note": "Größe\n\"q\""})
    safetensors.torch.save_file({"a": counting([3], torch.float32), "f8": torch.zeros([4]).to(torch.float8_e4m3fn)},
                                f"{OUT}/f8.safetensors")
    os.makedirs(f"{OUT}/sharded", exist_ok=True)
    safetensors.torch.save_file({"a": counting([3], torch.float32), "c": counting([2, 2], torch.float16)},
                                f"{OUT}/sharded/model-00001-of-00002.safetensors", metadata={"format": "pt"})
    safetensors.torch.save_file({"b": counting([5], torch.int64)}, f"{OUT}/sharded/model-00002-of-00002.safetensors")
    with open(f"{OUT}/sharded/model.safetensors.index.json", "w") as f:
        f.write('{"metadata": {"total_size": 60}, "weight_map": {"a": "model-00001-of-00002.safetensors", '
                '"b": "model-00002-of-00002.safetensors", "c": "model-00001-of-00002.safetensors"}}\n')


def write_npy():
    cases = {"c_f4_v1": ("<f4", "C", (1, 0)), "fortran_f8_v2": ("<f8", "F", (2, 0)), "big_i4_v3": (">i4", "C", (3, 0)),
             "fortran_big_u2_v1": (">u2", "F", (1, 0)), "f2_v1": ("<f2", "C", (1, 0)), "bool_v1": ("|b1", "C", (1, 0)),
             "i1_v1": ("|i1", "C", (1, 0)), "complex_v1": ("<c8", "C", (1, 0)), "text_v1": ("<U3", "C", (1, 0))}
    for name, (dtype, order, version) in cases.items():
        a = np.arange(24).reshape(2, 3, 4)
        a = np.asarray((a % 2 if dtype == "|b1" else a).astype(dtype), order=order)
        with open(f"{OUT}/{name}.npy", "wb") as f:
            np.lib.format.write_array(f, a, version=version)
    np.save(f"{OUT}/scalar.npy", np.float32(0))
    np.save(f"{OUT}/empty.npy", np.zeros([3, 0], np.int64))
    np.save(f"{OUT}/fields.npy", np.zeros([2], [("x", "<f4"), ("y", "<i4")]))
    np.savez(f"{OUT}/stored.npz", a=np.arange(6, dtype=np.float32).reshape(2, 3), b=np.arange(4, dtype=np.int64))
    np.savez_compressed(f"{OUT}/deflated.npz", a=np.arange(6, dtype=np.float32).reshape(2, 3), b=np.arange(4, dtype=np.int64))


class Wants:
    def __reduce__(self):
        return (os.system, ("true",))


def write_torch():
    types = {name: dtype for name, dtype in TYPES.items() if name[0] != "U" or name == "U8"}
    tensors = {name: counting([2, 3], dtype) for name, dtype in types.items()}
    whole = torch.arange(24.0).reshape(4, 6)
    tensors |= {"scalar": torch.tensor(0.0, dtype=torch.float64), "empty": torch.empty([0, 4]), "turned": whole.T, "part": whole[1:3, 1::2]}
    torch.save(tensors, f"{OUT}/all_types.pt")
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(counting(p.shape, torch.float32))
    torch.save(module.state_dict(), f"{OUT}/state.pt")
    torch.save({"a": {"b": [torch.nn.Parameter(counting([3], torch.float32)), 3, -2.5, "text", None, True]}, 7: 1 << 40}, f"{OUT}/nested.pt",
               pickle_protocol=4)
    torch.save({"x": whole.expand(1000, 4, 6)}, f"{OUT}/repeated.pt")
    torch.save(Wants(), f"{OUT}/wants.pt")
    torch.save({"x": whole}, f"{OUT}/old.pt", _use_new_zipfile_serialization=False)


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def one_nan(bits, exponent, quiet):
    """All NaNs of one kind: which bits a NaN keeps is no part of any contract."""
    bits = bits.copy()
    magnitude = bits & np.array(np.iinfo(bits.dtype).max >> 1, bits.dtype)
    bits[magnitude > exponent] = quiet
    return bits


def inputs_around(widened):
    """Each value, the middle to its neighbour, and the floats on both sides of that middle: where rounding decides."""
    x = widened[:32768][np.isfinite(widened[:32768])]
    middles = ((x[1:].astype(np.float64) + x[:-1]) / 2).astype(np.float32)
    sides = [np.nextafter(middles, np.float32(np.inf)), np.nextafter(middles, np.float32(-np.inf))]
    positive = np.concatenate([x, middles, *sides])
    return np.concatenate([positive, -positive, np.float32([np.inf, -np.inf, 65519.996, 65520, 3.4e38, -3.4e38, 1e-45, -1e-45])])


def write_halves():
    every = np.arange(65536, dtype=np.uint16)
    f16 = every.view(np.float16).astype(np.float32)
    bf16 = torch.from_numpy(every.view(np.int16)).view(torch.bfloat16).to(torch.float32).numpy()
    rows = []
    for name, widened in (("F16", f16), ("BF16", bf16)):
        x = inputs_around(widened)
        if name == "F16":
            with np.errstate(over="ignore"):
                narrow = x.astype(np.float16).view(np.uint16)
        else:
            narrow = torch.from_numpy(x).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
        wide_hash = fnv1a(one_nan(widened.view(np.uint32), 0x7F800000, 0x7FC00000).tobytes())
        rows.append(f"    {{SONDE_{name}, 0x{wide_hash:016x}, {x.size}, 0x{fnv1a(x.view(np.uint32).tobytes()):016x}, 0x{fnv1a(narrow.tobytes()):016x}}},")
    with open(f"{OUT}/halves.inc", "w") as f:
        f.write(f"/* Made by tests/oracle/format_golden.py with numpy {np.__version__} and torch {torch.__version__}:\n"
                " * type, hash of all 65,536 values as floats, number of floats around all of them, hash of these, hash of what they\n"
                " * are rounded to. FNV-1a over little-endian bytes; every NaN is 0x7fc00000. */\n")
        f.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    write_safetensors()
    write_npy()
    write_torch()
    write_halves()
    with open(f"{OUT}/VERSIONS", "w") as f:
        f.write(f"tests/oracle/format_golden.py with numpy {np.__version__}, torch {torch.__version__}, safetensors {safetensors.__version__}\n")
