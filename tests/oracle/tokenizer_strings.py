"""Strings that tokenizers get wrong, and random ones made of the same stuff."""

ADVERSARIAL = [
    "", " ", "  ", "\n", "\r", "\t", "\0", "a", " a", "a ", "  a  b   c", "a\0b\0\0c", "\r\r\n\n\r", "x\r\ry", "a \n b \n\n c\t\td",
    "e\u0301", "cafe\u0301 cafe\u0301s", "\u0301alone", "a\u0323\u0307", "a\u0307\u0323", "\u1e9b\u0323", "\u0041\u030a \u212b \u00c5",
    "\u1100\u1161\u11a8", "\u1100\u1161", "\uac00\u11a8", "\uac01\u11a8", "\u1100\u1100\u1161", "\u0928\u093c\u0929",
    "\u0f71\u0f72\u0f74", "\u0344\u0390", "\ufb01\ufb03 \u2460\u00bd\u2168", "\u3392 \uff21\uff22\uff23 \uff76\uff9e", "\ufdfa",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd \u2764\ufe0f",
    "\u0645\u0631\u062d\u0628\u0627 \u202babc\u202c \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\ue000\uf8ff\U000f0000\U0010fffd",
    "\ufffe\uffff\U0001ffff\U0010ffff", "\ufeffbom", "\u00a0nbsp\u00a0", "\u2003\u2003em \u3000wide\u2028line\u2029para\u0085nel",
    "\u180e\u200b\u2060", "\x1c\x1d\x1e\x1f\x7f\x80\x9f", "'s 't 're 've 'm 'll 'd 'S 'T 'RE 'VE 'M 'LL 'D '\u017f '\u017ft",
    "I'll we've they're it's'd'm", "don't 'twas ''s '' ' 's", "123 1234 12345678901234567890 1,234.56 \u0661\u0662\u0663 \u00b2\u00b3 \u2167",
    "a1b2c3 1a2b3c", "!!!??? ... --- === +-*/ <<>> [[{{(())}}]]", "\u4f60\u597d\u4e16\u754c\u3002\u65e5\u672c\u8a9e\u30c6\u30b9\u30c8",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
    "\u0130\u0131\u01c5\u1e9e\u00df\u03a3\u03c3\u03c2\u1f80", "\u2581\u2581a\u2581", "\u0120a\u010ab", "<0x41><0x0A>", "<unk><s></s>", "a<s>b</s>c",
    "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftext", "<|begin_of_text|><|start_header_id|>user",
    "  <s>  </s>  ", "<S>", "assistant RWKV <|padding|>", "def f(x):\n    return x\n\n\n        y = 2\n", " " * 3, " " * 24, " " * 100, "\n" * 50,
    " \n" * 20, "\t" * 30 + "x", "a" * 300, "ab" * 500, "\u00e9" * 200, "\U0001f600" * 100, "a " * 200, "=" * 120, "x" + " " * 80 + "y",
    "https://example.com/a/b?c=d&e=f#g", "foo_bar __init__ CamelCaseWord snake_case", "\u0300" * 40, "a" + "\u0323\u0301" * 20,
    "\u1e63\u0307 s\u0323\u0307 s\u0307\u0323", "\uf900\ufa0e\U0002f800", "\u2126\u2127\u212a", "\u0958\u0959", "\u2adc\u2add\u0338",
    "\U0001d15e\U0001d1bc", "\U00011099\U000110ba \U00011938 \U00016d68",
]

ALPHABETS = [
    "abcdefgh", "ABC xyz", " ", "   ", "\n", "\r\n \t", "0123456789", "'sStTdDmMlLrReEvV", ".,!?-_#@%&()[]{}<>/\\|+=*^~`\"':;$",
    "\u00e9\u00e8\u00fc\u00df\u00e7\u0131\u0130", "\u0301\u0323\u0307\u0308\u0338\u093c\u0345\u20dd\u0f71", "\u1100\u1161\u11a8\uac00\uac01\u1175\u11c2",
    "\u4f60\u597d\u3042\u30ab\u3099\uff76\uff9e\u3002", "\u0627\u0644\u0645\u05d0\u05b0", "\u0915\u094d\u0937\u093f\u0e01\u0e33",
    "\U0001f600\U0001f468\u200d\ufe0f\U0001f3fd\U0001f1e9", "\u00a0\u2003\u3000\u2028\u0085\u200b\ufeff\u1680", "\0\x01\x1f\x7f\x80",
    "\u00bd\u00b2\u2167\u0663\u3007\u00bc", "\ue000\uffff\U0010ffff\U000f0000", "\u2581\u0120\u010a\u0100\u0143", "\u01c5\u1e9e\u03a3\u03c2\u017f\u212a\u212b\u2126",
    "\ufb01\ufb03\u2460\u1e9b\u0958\uf900", "<s>", "<unk>", "hello", " world", " the", "'ll", "\u00ad\u180e\u061c",
]


def random_string(rng, added=()):
    """Stretches of a few characters of one alphabet each; now and then an added token, or any code point at all."""
    out = []
    for _ in range(rng.randint(0, 14)):
        kind = rng.random()
        if kind < 0.08 and added:
            token = rng.choice(added)
            out.append(token if rng.random() < 0.7 else token[:rng.randint(0, len(token))])
        elif kind < 0.16:
            c = rng.randrange(0x110000) if rng.random() < 0.3 else rng.randrange(0x3100)
            out.append("" if 0xD800 <= c < 0xE000 else chr(c))
        else:
            alphabet = rng.choice(ALPHABETS)
            if rng.random() < 0.2:
                out.append(alphabet)
            else:
                out.extend(rng.choice(alphabet) for _ in range(rng.randint(1, 12 if rng.random() < 0.9 else 150)))
    return "".join(out)
