"""Writes tests/golden/hook_names.txt: shorthand and the name that TransformerLens's get_act_name makes of it.

    python tests/oracle/hook_names.py > tests/golden/hook_names.txt
"""
from importlib.metadata import version

from transformer_lens.utils import get_act_name

WORDS = ["k", "q", "v", "z", "rot_k", "rot_q", "result", "pattern", "attn", "key", "query", "value", "pre", "post"]
PARTS = ["scale3ln1", "scale3ln2", "normalized3ln1", "normalized3ln2"]

print(f"# transformer_lens {version('transformer_lens')}: shorthand, full name")
for layer in (0, 3, 11):
    for word in WORDS:
        if "_" not in word:  # its pattern takes letters only: `rot_k3` is not shorthand there
            print(f"{word}{layer} {get_act_name(word + str(layer))}")
for part in PARTS:
    print(part, get_act_name(part))
for word in ("embed", "pos_embed", "scale", "normalized"):
    print(word, get_act_name(word))
