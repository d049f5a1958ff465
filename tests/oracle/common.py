"""What the oracle scripts share: every activation of a transformers model in float64, under TransformerLens's names.

The model is transformers' own, loaded with dtype=torch.float64 from the stored weights; activations are taken from its modules
by forward hooks and from its own attention function. Only what no module returns is computed here (the scale of a norm, scores
before the softmax, each head's share of the output), and each of these is checked against what the modules return next.
"""
import sys

import numpy as np
import torch

CLOSE = 2e-6  # of the largest value: RMSNorm and softmax run in float32 inside transformers whatever the dtype


def load_float64(directory):
    """transformers' model of a directory, in float64, with eager attention."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64, attn_implementation="eager")
    return model.eval()


def assert_close(name, got, want, limit=CLOSE):
    """Fails on NaN before it compares."""
    largest = want.abs().max().item()
    error = (got - want).abs().max().item()
    if not error <= limit * max(largest, 1e-30):
        raise AssertionError(f"{name}: {error} of {largest}")


class _AttentionTap:
    """Replaces a modelling file's attention function by one that also records what goes in and out."""

    def __init__(self, model, record):
        self.module = sys.modules[type(model).__module__]
        self.original = self.module.eager_attention_forward
        self.record = record

    def __enter__(self):
        def tapped(module, query, key, value, attention_mask, scaling=None, **kwargs):
            z, pattern = self.original(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
            self.record(module.layer_idx, query, key, value, attention_mask, scaling, z, pattern)
            return z, pattern

        self.module.eager_attention_forward = tapped

    def __exit__(self, *exc):
        self.module.eager_attention_forward = self.original


def _parts(model):
    """The modules of either family under one set of names."""
    if hasattr(model, "transformer"):
        body = model.transformer
        return dict(gpt2=True, embed=body.wte, pos=body.wpe, blocks=list(body.h), ln1="ln_1", ln2="ln_2", attn="attn",
                    final=body.ln_f)
    body = model.model
    return dict(gpt2=False, embed=body.embed_tokens, pos=None, blocks=list(body.layers), ln1="input_layernorm",
                ln2="post_attention_layernorm", attn="self_attn", final=body.norm)


def _norm_points(out, name, module, x, y):
    """hook_scale and hook_normalized of a norm, checked against its output y."""
    eps = getattr(module, "variance_epsilon", None) or module.eps
    is_layernorm = isinstance(module, torch.nn.LayerNorm)
    centred = x - x.mean(-1, keepdim=True) if is_layernorm else x
    scale = (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    normalized = centred / scale
    bias = module.bias if is_layernorm else 0.0
    assert_close(name, normalized * module.weight + bias, y)
    out[f"{name}.hook_scale"], out[f"{name}.hook_normalized"] = scale, normalized


def _attention_points(out, p, config, tap, attn, is_gpt2):
    """Everything inside one attention layer; `tap` holds what its attention function was given and gave."""
    query, key, value, mask, scaling, z, pattern = tap
    groups = query.shape[1] // key.shape[1]
    heads = lambda x: x.transpose(1, 2)  # (B,H,T,h) -> (B,T,H,h)
    scores = torch.matmul(query, key.repeat_interleave(groups, 1).transpose(-1, -2)) * scaling
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    scores = scores.masked_fill(hidden, float("-inf"))
    assert_close(p + "pattern", scores.softmax(-1), pattern)
    if not is_gpt2:
        out[p + "hook_rot_q"], out[p + "hook_rot_k"] = heads(query), heads(key)
    out[p + "hook_v"] = heads(value)
    out[p + "hook_attn_scores"], out[p + "hook_pattern"], out[p + "hook_z"] = scores, pattern, z
    weight = attn.c_proj.weight if is_gpt2 else attn.o_proj.weight.T  # (H*h, D)
    bias = attn.c_proj.bias if is_gpt2 else attn.o_proj.bias
    H, h = query.shape[1], query.shape[3]
    result = torch.einsum("bthk,hkd->bthd", z, weight.reshape(H, h, -1))
    out[p + "hook_result"] = result
    assert_close(p + "result", result.sum(2) + (bias if bias is not None else 0.0), out[p[:-5] + "hook_attn_out"])


class _ModuleTaps:
    """Keeps input and output of each module that is added under a name, for one pass."""

    def __init__(self):
        self.inputs, self.outputs, self.handles = {}, {}, []

    def add(self, name, module):
        def keep(module, args, kwargs, output):
            self.inputs[name] = args[0] if args else kwargs.get("hidden_states")
            self.outputs[name] = output[0] if isinstance(output, tuple) else output

        self.handles.append(module.register_forward_hook(keep, with_kwargs=True))

    def remove(self):
        for handle in self.handles:
            handle.remove()


def _add_taps(taps, model, parts):
    taps.add("embed", parts["embed"])
    if parts["pos"] is not None:
        taps.add("pos", parts["pos"])
    taps.add("final", parts["final"])
    for i, block in enumerate(parts["blocks"]):
        attn, mlp = getattr(block, parts["attn"]), block.mlp
        inner = dict(block=block, ln1=getattr(block, parts["ln1"]), ln2=getattr(block, parts["ln2"]), attn=attn, mlp=mlp)
        if parts["gpt2"]:
            inner.update(qkv=attn.c_attn, pre=mlp.c_fc, post=mlp.act)
        else:
            inner.update(q=attn.q_proj, k=attn.k_proj, v=attn.v_proj, pre=mlp.gate_proj, up=mlp.up_proj, down=mlp.down_proj)
        for name, module in inner.items():
            taps.add(f"{name}{i}", module)


def _projections(taps, config, i, attn, is_gpt2):
    """hook_q, hook_k, hook_v as (B,T,heads,h)."""
    if is_gpt2:
        q, k, v = taps.outputs[f"qkv{i}"].split(attn.embed_dim, dim=2)
    else:
        q, k, v = (taps.outputs[f"{x}{i}"] for x in "qkv")
    shape = lambda x: x.reshape(*x.shape[:2], -1, attn.head_dim)
    return shape(q), shape(k), shape(v)


def _block_points(out, taps, tap, model, parts, i):
    block, is_gpt2, b = parts["blocks"][i], parts["gpt2"], f"blocks.{i}."
    attn = getattr(block, parts["attn"])
    out[b + "hook_resid_pre"] = taps.inputs[f"block{i}"]
    _norm_points(out, b + "ln1", getattr(block, parts["ln1"]), taps.inputs[f"ln1{i}"], taps.outputs[f"ln1{i}"])
    q, k, v = _projections(taps, model.config, i, attn, is_gpt2)
    out[b + "attn.hook_q"], out[b + "attn.hook_k"] = q, k
    out[b + "hook_attn_out"] = taps.outputs[f"attn{i}"]
    _attention_points(out, b + "attn.", model.config, tap, attn, is_gpt2)
    assert_close(b + "v", out[b + "attn.hook_v"], v)
    out[b + "hook_resid_mid"] = taps.inputs[f"ln2{i}"]
    assert_close(b + "mid", out[b + "hook_resid_pre"] + out[b + "hook_attn_out"], out[b + "hook_resid_mid"])
    _norm_points(out, b + "ln2", getattr(block, parts["ln2"]), taps.inputs[f"ln2{i}"], taps.outputs[f"ln2{i}"])
    out[b + "mlp.hook_pre"] = taps.outputs[f"pre{i}"]
    if is_gpt2:
        out[b + "mlp.hook_post"] = taps.outputs[f"post{i}"]
    else:
        out[b + "mlp.hook_pre_linear"] = taps.outputs[f"up{i}"]
        out[b + "mlp.hook_post"] = taps.inputs[f"down{i}"]
    out[b + "hook_mlp_out"] = taps.outputs[f"mlp{i}"]
    out[b + "hook_resid_post"] = taps.outputs[f"block{i}"]
    H = q.shape[2]
    repeat = lambda x, n: x.unsqueeze(2).expand(-1, -1, n, -1)
    out[b + "hook_attn_in"] = out[b + "hook_q_input"] = repeat(out[b + "hook_resid_pre"], H)
    out[b + "hook_k_input"] = out[b + "hook_v_input"] = repeat(out[b + "hook_resid_pre"], k.shape[2])
    out[b + "hook_mlp_in"] = out[b + "hook_resid_mid"]


@torch.no_grad()
def activations_of_one(model, ids):
    """Every hook point for one sequence without padding: name -> float64 tensor with B = 1."""
    parts, taps, attention, out = _parts(model), _ModuleTaps(), {}, {}
    record = lambda layer, *what: attention.__setitem__(layer, what)
    _add_taps(taps, model, parts)
    try:
        with _AttentionTap(model, record):
            logits = model(torch.tensor([ids]), use_cache=False).logits
    finally:
        taps.remove()
    out["hook_embed"] = taps.outputs["embed"]
    if parts["pos"] is not None:
        out["hook_pos_embed"] = taps.outputs["pos"]
    for i in range(len(parts["blocks"])):
        _block_points(out, taps, attention[i], model, parts, i)
    _norm_points(out, "ln_final", parts["final"], taps.inputs["final"], taps.outputs["final"])
    out["unembed.hook_in"], out["unembed.hook_out"] = taps.outputs["final"], logits
    return {name: x.to(torch.float64) for name, x in out.items()}


def _padded(name, sequences, lengths):
    """Stacks (1, T_b, ...) arrays; padding is 0, or -inf in attention scores."""
    T, is_square = max(lengths), name.endswith(("hook_attn_scores", "hook_pattern"))
    first = sequences[0].numpy()
    shape = (len(lengths), first.shape[1], T, T) if is_square else (len(lengths), T) + first.shape[2:]
    out = np.full(shape, -np.inf if name.endswith("hook_attn_scores") else 0.0)
    for b, (x, n) in enumerate(zip(sequences, lengths)):
        if is_square:
            out[b, :, :n, :n] = x[0].numpy()
        else:
            out[b, :n] = x[0].numpy()
    return out


def activations(model, sequences):
    """Every hook point for several sequences: name -> float64 array with B rows, right-padded. The sequences run one by one,
    and the logits of their real tokens are checked against transformers' own padded batch with its attention mask."""
    lengths = [len(s) for s in sequences]
    each = [activations_of_one(model, s) for s in sequences]
    out = {name: _padded(name, [e[name] for e in each], lengths) for name in each[0]}
    T = max(lengths)
    ids = torch.tensor([list(s) + [0] * (T - len(s)) for s in sequences])
    mask = torch.tensor([[1] * n + [0] * (T - n) for n in lengths])
    with torch.no_grad():
        batch = model(ids, attention_mask=mask, position_ids=torch.arange(T)[None].expand(len(lengths), -1), use_cache=False).logits
    for b, n in enumerate(lengths):
        assert_close("padded batch", batch[b, :n], torch.from_numpy(out["unembed.hook_out"][b, :n]))
    return out


ON_REQUEST = ("hook_result", "hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input", "hook_mlp_in")


def fires_by_default(name):
    return not name.endswith(ON_REQUEST)


@torch.no_grad()
def randomize(model, seed):
    """Weights that make every part matter: matrices with gain about 1, gains and biases away from 1 and 0."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda p: torch.randn(p.shape, generator=generator, dtype=torch.float32)
    for name, p in model.named_parameters():
        if p.dim() == 2 and ("wte" in name or "embed" in name or "wpe" in name):
            p.copy_(0.7 * normal(p))
        elif p.dim() == 2:
            n_in = p.shape[0] if ".c_" in name else p.shape[1]  # GPT-2 stores (in, out), nn.Linear (out, in)
            p.copy_(normal(p) / np.sqrt(n_in))
        elif "norm" in name or "ln_" in name:
            p.copy_((0.3 * normal(p)) + (1.0 if name.endswith("weight") else 0.0))
        else:
            p.copy_(0.3 * normal(p))


def relative_error(got, want):
    """Largest difference in units of the largest finite value wanted; inf if shapes, -inf positions or finiteness differ."""
    if got.shape != want.shape:
        return float("inf")
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(got)) or not np.array_equal(got[~finite], want[~finite]):
        return float("inf")
    if not finite.any():
        return 0.0
    largest = np.abs(want[finite]).max()
    return float(np.abs(got[finite] - want[finite]).max() / max(largest, 1e-30))
