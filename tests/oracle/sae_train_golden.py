"""Writes tests/golden/sae_train: steps of training in float64 by the trainers of sae-lens and dictionary_learning.

    pip install --no-deps dictionary-learning==0.1.0; python tests/oracle/sae_train_golden.py [NAME...]

Names: only those files. A file has x (steps,N,D), the parameters before the first step, `silent` (S) (steps since each feature was on),
grad.NAME and the loss of the first step, after.NAME behind the last, and features (N,S) of the first. Where step sizes and penalties are
scheduled, it has lr and coefficient of each step (steps) as well. test_sae_train_golden.c has the options of each case."""
import logging
import sys
import types
import warnings
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
import sae_lens
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.registry import get_sae_training_class
from sae_lens.saes.jumprelu_sae import calculate_pre_act_loss
from sae_lens.training.sae_trainer import SAETrainer

logging.disable(logging.WARNING)
OUT = Path(__file__).parent.parent / "golden" / "sae_train"
SIZES = D, S, N, STEPS = 24, 64, 48, 3
WINDOW = 5
SMALL = (8, 16, 16, 12)  # D, S, N and steps where there are many steps
LR = 1e-3

# name: architecture of sae-lens, its options, whether some features are dead at the beginning
CASES = {
    "standard": ("standard", {"l1_coefficient": 0.7}, False),
    "gated": ("gated", {"l1_coefficient": 0.7}, False),
    "topk": ("topk", {"k": 4}, False),
    "topk_plain": ("topk", {"k": 4, "rescale_acts_by_decoder_norm": False, "apply_b_dec_to_input": False}, False),
    "topk_dead": ("topk", {"k": 4, "aux_loss_coefficient": 0.5}, True),
    "batchtopk": ("batchtopk", {"k": 4.5}, False),
    "batchtopk_dead": ("batchtopk", {"k": 4.5}, True),
    "abstopk_dead": ("abstopk", {"k": 4}, True),
    "matryoshka_dead": ("matryoshka_batchtopk", {"k": 5, "matryoshka_widths": [8, 24, 64]}, True),
    "jumprelu_step": ("jumprelu", {"l0_coefficient": 0.3, "jumprelu_bandwidth": 0.4}, False),
    "jumprelu_tanh": ("jumprelu", {"l0_coefficient": 0.3, "jumprelu_bandwidth": 0.4, "jumprelu_sparsity_loss_mode": "tanh"}, False),
    "jumprelu_quadratic": ("jumprelu", {"l0_coefficient": 0.3, "jumprelu_bandwidth": 0.4, "jumprelu_sparsity_loss_mode": "quadratic",
                                        "target_l0": 9.0, "jumprelu_ste_to_input": True}, False),
    "matching_pursuit": ("matching_pursuit", {"max_iterations": 6, "residual_threshold": 1.5}, False),
    "jumprelu_below": ("jumprelu", {"l0_coefficient": 0.3, "jumprelu_bandwidth": 0.4, "jumprelu_sparsity_loss_mode": "tanh",
                                    "pre_act_loss_coefficient": 0.02}, True),
    "standard_below": ("standard", {"l1_coefficient": 0.7}, True),
}

# Step sizes and the penalty's weight that change from step to step. name: as above, and options of the training; SMALL.
SCHEDULES = {
    "warmup_wsd": ("standard", {"l1_coefficient": 0.7, "l1_warm_up_steps": 5}, False, {"lr_warm_up_steps": 4, "lr_decay_steps": 5}),
    "warmup_cosine": ("gated", {"l1_coefficient": 0.7, "l1_warm_up_steps": 20}, False,
                      {"lr_scheduler_name": "cosineannealing", "lr_warm_up_steps": 3, "lr_end": LR / 10}),
    "warmup_linear": ("jumprelu", {"l0_coefficient": 0.3, "l0_warm_up_steps": 1, "jumprelu_bandwidth": 0.4,
                                   "jumprelu_sparsity_loss_mode": "tanh", "pre_act_loss_coefficient": 0.02}, True,
                      {"lr_warm_up_steps": 2, "lr_decay_steps": 10}),
}


def rows(generator, n, d=D):
    """Rows of a few directions each, about sqrt(d) long, with a mean that is not 0."""
    directions = torch.randn([40, d], generator=generator).double()
    on = (torch.rand([n, 40], generator=generator) < 0.1).double() * torch.rand([n, 40], generator=generator).double()
    x = on @ directions + 0.3 * torch.randn([d], generator=generator).double() + 0.2 * torch.randn([n, d], generator=generator).double()
    x = x * d**0.5 / x.norm(dim=1).mean()
    return x.float().double()  # what is written is what was computed with


def set_parameters(named, generator, d=D):
    """Parameters that are not those of the beginning: every gradient counts. Returns copies."""
    for name, p in named.items():
        if name.startswith("W_dec"):
            value = torch.randn(p.shape, generator=generator) * (torch.rand([p.shape[0], 1], generator=generator) + 0.5)
            value = value / d**0.5
        elif name.startswith("W_"):
            value = torch.randn(p.shape, generator=generator) / d**0.5
        elif name == "threshold":
            value = torch.rand(p.shape, generator=generator) * 0.5 + 0.3
        else:
            value = torch.randn(p.shape, generator=generator) * 0.15
        p.data = value.float().double()
    return {name: p.detach().clone() for name, p in named.items()}


def record_clipping(record):
    """Replaces torch's clipping by one that keeps the gradients and their norm from before."""
    clip = torch.nn.utils.clip_grad_norm_

    def recorded(parameters, limit, *args, **kwargs):
        parameters = list(parameters)
        record.append([p.grad.clone() if p.grad is not None else None for p in parameters])
        return clip(parameters, limit, *args, **kwargs)
    return recorded


def write(name, tensors, metadata):
    OUT.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, OUT / f"{name}.safetensors", metadata)
    print(name, {k: v for k, v in metadata.items() if k.startswith("loss")})


def record_schedules(trainer):
    """The step sizes that Adam is given and the weights that the forward pass is given, as they are when they are used."""
    rates, weights, forward = [], [], trainer.sae.training_forward_pass

    def recorded(step_input):
        weights.extend(step_input.coefficients.values())
        return forward(step_input)
    trainer.sae.training_forward_pass = recorded
    trainer.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    return rates, weights


def lift_dead(sae, coefficient):
    """Gives ReLU the loss of dead features that sae-lens has for JumpReLU, with thresholds of 0."""
    others = sae.calculate_aux_loss

    def with_lifting(step_input, feature_acts, hidden_pre, sae_out):
        lifting = calculate_pre_act_loss(coefficient, torch.zeros(sae.cfg.d_sae).double(), hidden_pre, step_input.dead_neuron_mask,
                                         sae.W_dec.norm(dim=1))
        return others(step_input, feature_acts, hidden_pre, sae_out) | {"pre_act_loss": lifting}
    sae.calculate_aux_loss = with_lifting


def train(name, architecture, options, has_dead, seed, schedule=None):
    """The steps of a case by sae-lens. A schedule: options of SAETrainerConfig, in the small sizes."""
    d, S, N, steps = SMALL if schedule else SIZES
    generator = torch.Generator().manual_seed(seed)
    cls, config_class = get_sae_training_class(architecture)
    sae = cls(config_class(d_in=d, d_sae=S, dtype="float64", **options))
    named = dict(sae.named_parameters())
    if name == "standard_below":
        lift_dead(sae, 0.02)
    before = set_parameters(named, generator, d)
    if architecture == "matching_pursuit":
        sae.W_dec.data /= sae.W_dec.data.norm(dim=1, keepdim=True)
        before["W_dec"] = sae.W_dec.detach().float().double().clone()
        sae.W_dec.data = before["W_dec"].clone()
    x = torch.stack([rows(generator, N, d) for _ in range(steps)])
    config = SAETrainerConfig(total_training_samples=N * steps, train_batch_size_samples=N, lr=LR,
                              dead_feature_window=WINDOW, n_checkpoints=0, save_final_checkpoint=False, device="cpu", autocast=False,
                              logger=LoggingConfig(log_to_wandb=False), **({"lr_end": LR} | (schedule or {})))
    trainer = SAETrainer(config, sae, iter(x))
    rates, weights = record_schedules(trainer)
    silent = (torch.rand([S], generator=generator) < 0.25).double() * (WINDOW + 1) if has_dead else torch.zeros(S).double()
    trainer.n_forward_passes_since_fired = silent.clone()
    kept = []
    torch.nn.utils.clip_grad_norm_ = record_clipping(kept)
    outputs = []
    for step in range(steps):
        outputs.append(trainer.step(x[step]))
        trainer.n_training_steps += 1
    first = outputs[0]
    tensors = {"x": x.float(), "silent": silent.long(), "features": first.feature_acts, "losses": torch.stack([o.loss for o in outputs])}
    tensors |= before
    tensors |= {f"grad.{n}": g for n, g in zip(named, kept[0]) if g is not None}
    tensors |= {f"after.{n}": p for n, p in named.items()}
    tensors["silent_after"] = trainer.n_forward_passes_since_fired.long()
    if hasattr(sae, "topk_threshold"):
        tensors["topk_threshold"] = sae.topk_threshold.reshape(1)
    if schedule:
        tensors |= {"lr": torch.tensor(rates, dtype=torch.float64), "coefficient": torch.tensor(weights, dtype=torch.float64)}
    write(name, tensors, {"library": f"sae-lens {sae_lens.__version__}, torch {torch.__version__}", "class": cls.__name__,
                          "seed": str(seed)} | {f"loss.{k}": f"{float(v):.9g}" for k, v in first.losses.items()})


def train_others(name, module, options, steps, seed):
    """dictionary_learning's trainers, whose decoder rows have length 1. Their package wants nnsight, which training does not use."""
    sys.modules.setdefault("nnsight", types.SimpleNamespace(LanguageModel=object))
    import importlib
    trainers = importlib.import_module(f"dictionary_learning.trainers.{module}")
    cls = trainers.StandardTrainer if module == "standard" else trainers.PAnnealTrainer
    generator = torch.Generator().manual_seed(seed)
    trainer = cls(steps=steps, activation_dim=D, dict_size=S, layer=0, lm_name="none", lr=LR, warmup_steps=0,
                  sparsity_warmup_steps=None, device="cpu", **options)
    ae = trainer.ae.double()
    mine = {"W_enc": torch.empty(D, S), "b_enc": torch.empty(S), "W_dec": torch.empty(S, D), "b_dec": torch.empty(D)}
    before = set_parameters(mine, generator)
    before["W_dec"] = (before["W_dec"] / before["W_dec"].norm(dim=1, keepdim=True)).float().double()
    theirs = {"W_enc": ae.encoder.weight, "b_enc": ae.encoder.bias, "W_dec": ae.decoder.weight, "b_dec": ae.bias}
    turned = {"W_enc", "W_dec"}
    for n, p in theirs.items():
        p.data = (before[n].T if n in turned else before[n]).clone().contiguous()
    x = torch.stack([rows(generator, N) for _ in range(steps)])
    losses, grads, features = [], {}, ae.encode(x[0])
    for step in range(steps):
        trainer.optimizer.zero_grad()
        loss = trainer.loss(x[step], step)
        loss.backward()
        if step == 0:
            raw = {n: p.grad.clone() for n, p in theirs.items()}
            along = ae.decoder.weight / ae.decoder.weight.norm(dim=0, keepdim=True)
            raw["W_dec"] = raw["W_dec"] - (raw["W_dec"] * along).sum(dim=0, keepdim=True) * along
            grads = {n: (g.T if n in turned else g) for n, g in raw.items()}
        trainer.optimizer.step()
        losses.append(loss.detach())
    tensors = {"x": x.float(), "silent": torch.zeros(S).long(), "features": features, "losses": torch.stack(losses)} | before
    tensors |= {f"grad.{n}": g for n, g in grads.items()}
    tensors |= {f"after.{n}": (p.T if n in turned else p) for n, p in theirs.items()}
    write(name, tensors, {"library": f"dictionary_learning 0.1.0, torch {torch.__version__}", "class": cls.__name__, "seed": str(seed),
                          "loss.first": f"{float(losses[0]):.9g}"})


def train_transcoder(name, arch, has_skip, seed, decay=0.0):
    """Transcoders by torch's autograd: no library at hand trains them with these losses. |W_dec f + b_dec (+ W_skip x) - y|^2 + penalty."""
    O, K = 20, 4
    generator = torch.Generator().manual_seed(seed)
    named = {"W_enc": torch.empty(D, S), "b_enc": torch.empty(S), "W_dec": torch.empty(S, O), "b_dec": torch.empty(O)}
    if has_skip:
        named["W_skip"] = torch.empty(O, D)
    before = set_parameters(named, generator)
    named = {n: torch.nn.Parameter(p.clone()) for n, p in before.items()}
    x = torch.stack([rows(generator, N) for _ in range(STEPS)])
    mix = torch.randn([D, O], generator=generator).double() / D**0.5
    y = ((x @ mix).relu() * 1.5).float().double()
    optimizer = torch.optim.AdamW(named.values(), lr=LR, weight_decay=decay)
    losses, grads = [], {}
    for step in range(STEPS):
        h = x[step] @ named["W_enc"] + named["b_enc"]
        f = h.relu()
        norms = named["W_dec"].norm(dim=1)
        if arch == "topk":
            keep = (f * norms).topk(K, dim=1).indices
            f = torch.zeros_like(f).scatter(1, keep, f.gather(1, keep))
        out = f @ named["W_dec"] + named["b_dec"] + (x[step] @ named["W_skip"].T if has_skip else 0)
        loss = (out - y[step]).pow(2).sum(1).mean() + (0.7 * (f * norms).sum(1).mean() if arch == "standard" else 0)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            grads, features = {f"grad.{n}": p.grad.clone() for n, p in named.items()}, f
        torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
        optimizer.step()
        losses.append(loss.detach())
    tensors = {"x": x.float(), "y": y.float(), "silent": torch.zeros(S).long(), "features": features, "losses": torch.stack(losses)}
    tensors |= before | grads | {f"after.{n}": p for n, p in named.items()}
    write(name, tensors, {"library": f"torch {torch.__version__}", "class": "autograd", "seed": str(seed),
                          "loss.first": f"{float(losses[0]):.9g}"})


def train_kl(seed):
    """Means of features that are wanted: torch's own divergence of coins, and its ReduceLROnPlateau, which is told every loss."""
    rho, weight, weight_l1 = 0.2, 0.5, 1e-3
    generator = torch.Generator().manual_seed(seed)
    named = {"W_enc": torch.empty(D, S), "b_enc": torch.empty(S), "W_dec": torch.empty(S, D), "b_dec": torch.empty(D)}
    before = set_parameters(named, generator)
    named = {n: torch.nn.Parameter(p.clone()) for n, p in before.items()}
    steps = 12
    x = torch.stack([rows(generator, N) for _ in range(steps)])
    x[4:] *= 1.5  # the loss goes up, and the step size down
    x = x.float().double()
    optimizer = torch.optim.Adam(named.values(), lr=LR)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=1)
    losses, grads, means = [], {}, []
    for step in range(steps):
        f = ((x[step] - named["b_dec"]) @ named["W_enc"] + named["b_enc"]).relu()
        mean, want = f.mean(0), torch.full([S], rho, dtype=torch.float64)
        coins = torch.distributions.Bernoulli(probs=want), torch.distributions.Bernoulli(probs=mean.clamp(1e-6, 0.999))
        at = mean.detach().clamp(1e-6, 0.999)
        slope = (1 - rho) / (1 - at) - rho / at
        beyond = slope * (mean - mean.clamp(1e-6, 0.999))  # along the tangent
        divergence = torch.distributions.kl_divergence(*coins) + beyond
        means.append(mean)
        loss = (f @ named["W_dec"] + named["b_dec"] - x[step]).pow(2).sum(1).mean() + weight * divergence.sum()
        loss = loss + weight_l1 * (named["W_enc"].abs().sum() + named["W_dec"].abs().sum())
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            grads, features = {f"grad.{n}": p.grad.clone() for n, p in named.items()}, f
        torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
        optimizer.step()
        scheduler.step(loss.detach())
        losses.append(loss.detach())
    assert optimizer.param_groups[0]["lr"] < LR * 0.5 and (torch.stack(means) > 0.999).any()
    tensors = {"x": x.float(), "silent": torch.zeros(S).long(), "features": features, "losses": torch.stack(losses)}
    tensors |= before | grads | {f"after.{n}": p for n, p in named.items()}
    write("kl", tensors, {"library": f"torch {torch.__version__}", "class": "Bernoulli, ReduceLROnPlateau", "seed": str(seed),
                          "loss.first": f"{float(losses[0]):.9g}"})


def everything():
    """name: what makes its file."""
    make = {name: partial(train, name, *case, seed=100 + i) for i, (name, case) in enumerate(CASES.items())}
    make["standard_2023"] = partial(train_others, "standard_2023", "standard", {"l1_penalty": 0.3}, STEPS, seed=200)
    make["panneal"] = partial(train_others, "panneal", "p_anneal", {"initial_sparsity_penalty": 0.3, "sparsity_function": "Lp^p",
                                                                    "anneal_start": 2, "p_end": 0.8, "n_sparsity_updates": 10}, 14, seed=201)
    make["transcoder"] = partial(train_transcoder, "transcoder", "standard", False, seed=300)
    make["transcoder_topk_skip"] = partial(train_transcoder, "transcoder_topk_skip", "topk", True, seed=301)
    make["transcoder_decay"] = partial(train_transcoder, "transcoder_decay", "standard", False, seed=302, decay=0.3)
    make["kl"] = partial(train_kl, seed=400)
    for i, (name, (architecture, options, has_dead, schedule)) in enumerate(SCHEDULES.items()):
        make[name] = partial(train, name, architecture, options, has_dead, seed=500 + i, schedule=schedule)
    return make


if __name__ == "__main__":
    torch.set_default_dtype(torch.float32)
    for name, make in everything().items():
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make()
