"""Both families once more, by hand, in float64 torch, with every hook point a node of the graph: autograd then gives the
gradient of anything by any of them.

Nothing of the model is taken from transformers but its weights, its rotary table and its activation functions; that the graph
is the same model is checked node by node against what transformers' modules give (common.activations).

    plain graph     all points but those below; both norms are shared by what reads them
    split graph     hook_attn_in, hook_{q,k,v}_input: each head norms its own copy of the stream, as TransformerLens does
"""
import numpy as np
import torch
from transformers.activations import ACT2FN

import common

SPLIT = ("hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input")


class Graph:
    """The nodes of one pass over one sequence, by name."""

    def __init__(self):
        self.nodes = {}

    def keep(self, name, x):
        """A node of its own, even where its value is another node's: gradients of both are asked for."""
        x = x * 1.0
        self.nodes[name] = x
        return x


class Reference:
    def __init__(self, directory):
        self.hf = common.load_float64(directory)
        self.c = self.hf.config
        self.is_gpt2 = self.c.model_type == "gpt2"
        self.w = {name: p.detach().clone().requires_grad_(True) for name, p in self.hf.named_parameters()}
        c = self.c
        self.H = c.num_attention_heads
        self.K = self.H if self.is_gpt2 else c.num_key_value_heads
        self.h = c.hidden_size // self.H if self.is_gpt2 else self.hf.model.layers[0].self_attn.head_dim
        self.act = ACT2FN[c.activation_function if self.is_gpt2 else c.hidden_act]
        self.scale = 1.0 if self.is_gpt2 and not c.scale_attn_weights else self.h ** -0.5

    # ---- layers ----

    def norm(self, g, name, weight, x):
        """`weight` names the gain; LayerNorm has a bias beside it."""
        if self.is_gpt2:
            x = x - x.mean(-1, keepdim=True)
        eps = self.c.layer_norm_epsilon if self.is_gpt2 else self.c.rms_norm_eps
        scale = (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()
        if name:
            scale = g.keep(name + ".hook_scale", scale)
        n = x / scale
        if name:
            n = g.keep(name + ".hook_normalized", n)
        return n * self.w[weight + ".weight"] + (self.w[weight + ".bias"] if self.is_gpt2 else 0.0)

    def linear(self, name, x):
        """(in, out) in GPT-2's files, (out, in) in Llama's."""
        w, b = self.w[name + ".weight"], self.w.get(name + ".bias")
        y = x @ (w if self.is_gpt2 else w.T)
        return y if b is None else y + b

    def qkv_weights(self, i):
        """W (D, n, h) and b (n, h) or None, of queries, keys and values."""
        a = f"transformer.h.{i}.attn.c_attn" if self.is_gpt2 else f"model.layers.{i}.self_attn."
        if self.is_gpt2:
            ws, bs = self.w[a + ".weight"].chunk(3, 1), self.w[a + ".bias"].chunk(3)
        else:
            ws = [self.w[f"{a}{x}_proj.weight"].T for x in "qkv"]
            bs = [self.w.get(f"{a}{x}_proj.bias") for x in "qkv"]
        return [(w.reshape(w.shape[0], -1, self.h), None if b is None else b.reshape(-1, self.h)) for w, b in zip(ws, bs)]

    def qkv(self, g, i, x, is_split, ln1):
        """Queries, keys, values (B,T,heads,h): from one normed stream, or from each head's own."""
        b, heads, out = f"blocks.{i}.", (self.H, self.K, self.K), []
        if is_split:
            copies = lambda n: x.unsqueeze(2).expand(-1, -1, n, -1)
            shared = g.keep(b + "hook_attn_in", copies(self.H)) if self.H == self.K else None
            own = [g.keep(f"{b}hook_{p}_input", shared if shared is not None else copies(n)) for p, n in zip("qkv", heads)]
            inputs = [self.norm(g, None, ln1, y) for y in own]
        else:
            normed = self.norm(g, b + "ln1", ln1, x).unsqueeze(2)
            inputs = [normed.expand(-1, -1, n, -1) for n in heads]
        for p, y, (w, bias) in zip("qkv", inputs, self.qkv_weights(i)):
            y = torch.einsum("btnd,dnh->btnh", y, w)
            out.append(g.keep(f"{b}attn.hook_{p}", y if bias is None else y + bias))
        return out

    def rotate(self, x):
        """Halves, as transformers turns them; the angles are its own, in float32."""
        T = x.shape[1]
        cos, sin = self.hf.model.rotary_emb(x.detach(), torch.arange(T)[None])
        left, right = x.chunk(2, -1)
        return x * cos.unsqueeze(2) + torch.cat([-right, left], -1) * sin.unsqueeze(2)

    def attention(self, g, i, x, is_split, ln1, out):
        a = f"blocks.{i}.attn."
        q, k, v = self.qkv(g, i, x, is_split, ln1)
        if not self.is_gpt2:
            q, k = g.keep(a + "hook_rot_q", self.rotate(q)), g.keep(a + "hook_rot_k", self.rotate(k))
        each = lambda y: y.repeat_interleave(self.H // self.K, 2)
        scores = torch.einsum("bqnh,bknh->bnqk", q, each(k)) * self.scale
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = g.keep(a + "hook_attn_scores", scores.masked_fill(hidden, float("-inf")))
        pattern = g.keep(a + "hook_pattern", scores.softmax(-1))
        z = g.keep(a + "hook_z", torch.einsum("bnqk,bknh->bqnh", pattern, each(v)))
        w = self.w[out + ".weight"] if self.is_gpt2 else self.w[out + ".weight"].T
        result = g.keep(a + "hook_result", torch.einsum("btnh,nhd->btnd", z, w.reshape(self.H, self.h, -1)))
        bias = self.w.get(out + ".bias")
        y = result.sum(2)
        return g.keep(f"blocks.{i}.hook_attn_out", y if bias is None else y + bias)

    def mlp(self, g, i, x, ln2, first, up, down):
        m = f"blocks.{i}.mlp."
        y = self.norm(g, f"blocks.{i}.ln2", ln2, g.keep(f"blocks.{i}.hook_mlp_in", x))
        post = self.act(g.keep(m + "hook_pre", self.linear(first, y)))
        if up:
            post = post * g.keep(m + "hook_pre_linear", self.linear(up, y))
        return g.keep(f"blocks.{i}.hook_mlp_out", self.linear(down, g.keep(m + "hook_post", post)))

    # ---- the pass ----

    def names(self, i):
        if self.is_gpt2:
            p = f"transformer.h.{i}."
            return dict(ln1=p + "ln_1", out=p + "attn.c_proj", ln2=p + "ln_2", first=p + "mlp.c_fc", up=None, down=p + "mlp.c_proj")
        p = f"model.layers.{i}."
        return dict(ln1=p + "input_layernorm", out=p + "self_attn.o_proj", ln2=p + "post_attention_layernorm",
                    first=p + "mlp.gate_proj", up=p + "mlp.up_proj", down=p + "mlp.down_proj")

    def forward(self, ids, is_split=False):
        """Logits (1,T,V) and the graph's nodes."""
        g, w, body = Graph(), self.w, "transformer." if self.is_gpt2 else "model."
        embedding = w[body + ("wte.weight" if self.is_gpt2 else "embed_tokens.weight")]
        x = g.keep("hook_embed", embedding[torch.tensor([ids])])
        if self.is_gpt2:
            x = x + g.keep("hook_pos_embed", w["transformer.wpe.weight"][: len(ids)][None])
        for i in range(self.c.num_hidden_layers):
            n = self.names(i)
            x = g.keep(f"blocks.{i}.hook_resid_pre", x)
            x = g.keep(f"blocks.{i}.hook_resid_mid", x + self.attention(g, i, x, is_split, n["ln1"], n["out"]))
            x = g.keep(f"blocks.{i}.hook_resid_post", x + self.mlp(g, i, x, n["ln2"], n["first"], n["up"], n["down"]))
        y = g.keep("unembed.hook_in", self.norm(g, "ln_final", body + ("ln_f" if self.is_gpt2 else "norm"), x))
        return g.keep("unembed.hook_out", y @ w.get("lm_head.weight", embedding).T), g.nodes

    def check(self, ids, limit=common.CLOSE):
        """The nodes hold what transformers' modules give."""
        for is_split in (False, True):
            with torch.no_grad():
                _, nodes = self.forward(ids, is_split)
            want = common.activations_of_one(self.hf, ids)
            for name, x in nodes.items():
                y = want[name]
                finite = torch.isfinite(y)
                assert torch.equal(finite, torch.isfinite(x)), name
                common.assert_close(name, x[finite], y[finite], limit)

    # ---- gradients ----

    def gradients(self, sequences, objective):
        """The value of an objective, and its gradients: by each parameter, and by each hook point (padded, B rows).
        objective(logits (T,V), sequence, b) is a scalar; the value is the sum over the sequences."""
        value, each = 0.0, []
        parameters = {name: torch.zeros_like(p) for name, p in self.w.items()}
        for b, ids in enumerate(sequences):
            points = {}
            for is_split in (False, True):
                logits, nodes = self.forward(ids, is_split)
                nodes = {n: x for n, x in nodes.items() if not is_split or n.endswith(SPLIT)}
                wanted = list(nodes.values()) + ([] if is_split else list(self.w.values()))
                y = objective(logits[0], ids, b)
                grads = torch.autograd.grad(y, wanted, allow_unused=True)
                grads = [torch.zeros_like(x) if d is None else d for x, d in zip(wanted, grads)]
                points.update(zip(nodes, grads))
                if not is_split:
                    value += y.item()
                    for (name, _), d in zip(self.w.items(), grads[len(nodes):]):
                        parameters[name] += d
            each.append(points)
        lengths = [len(s) for s in sequences]
        return value, {n: x.numpy() for n, x in parameters.items()}, {n: padded(n, [e[n] for e in each], lengths) for n in each[0]}


def padded(name, sequences, lengths):
    """Stacks (1, T_b, ...) arrays; padding is 0."""
    out = common._padded(name, sequences, lengths)
    return np.where(np.isinf(out), 0.0, out)


def mean_loss(sequences):
    """Mean cross-entropy of the next token over all sequences."""
    n = sum(max(len(s) - 1, 0) for s in sequences)

    def objective(logits, ids, b):
        if len(ids) < 2:
            return (logits * 0.0).sum()
        return torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="sum") / n

    return objective


def logit_difference(a, b, position):
    """logit of a, minus that of b (None: none), at a position of each sequence."""
    return lambda logits, ids, _: logits[position, a] - (0.0 if b is None else logits[position, b])
