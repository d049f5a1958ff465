"""What the tokenizer oracles share: libsonde through ctypes, and the comparison of one text with the `tokenizers` library."""
import ctypes as C

from tokenizers import Tokenizer


class Tokens(C.Structure):
    _fields_ = [("ids", C.POINTER(C.c_int32)), ("start", C.POINTER(C.c_int64)), ("end", C.POINTER(C.c_int64)),
                ("n", C.c_int64), ("capacity", C.c_int64)]


class Error(C.Structure):
    _fields_ = [("status", C.c_int), ("line", C.c_int), ("file", C.c_char_p), ("message", C.c_char * 512), ("hint", C.c_char * 256)]


class SondeError(Exception):
    pass


def load_libsonde(path):
    lib = C.CDLL(path)
    lib.sonde_last_error.restype = C.POINTER(Error)
    lib.sonde_tokenizer_token.restype = C.c_char_p
    lib.sonde_tokenizer_n_vocab.restype = C.c_int64
    lib.sonde_tokenizer_n_vocab.argtypes = [C.c_void_p]
    lib.sonde_tokenizer_token.argtypes = [C.c_void_p, C.c_int32]
    lib.sonde_tokenizer_shown.restype = C.c_void_p
    lib.sonde_tokenizer_shown.argtypes = [C.c_void_p, C.c_void_p, C.c_int32, C.c_char_p, C.c_int64, C.c_int64]
    lib.sonde_tokenizer_encode.argtypes = [C.c_void_p, C.c_void_p, C.c_char_p, C.c_size_t, C.c_int]
    lib.sonde_tokenizer_decode.argtypes = [C.c_void_p, C.c_void_p, C.c_void_p, C.c_void_p, C.c_int64, C.c_bool]
    lib.sonde_tokenizer_free.argtypes = lib.sonde_tokens_release.argtypes = lib.sonde_text_free.argtypes = [C.c_void_p]
    return lib


class Sonde:
    """A tokenizer of ours."""

    def __init__(self, lib, path):
        self.lib, self.handle, self.tokens = lib, C.c_void_p(), Tokens()
        self._check(lib.sonde_tokenizer_load(C.byref(self.handle), str(path).encode()))

    def _check(self, status):
        if status:
            error = self.lib.sonde_last_error().contents
            raise SondeError(error.status, error.message.decode(errors="replace"))

    def encode(self, text, specials=True):
        data = text if isinstance(text, bytes) else text.encode()
        self._check(self.lib.sonde_tokenizer_encode(C.byref(self.tokens), self.handle, data, len(data), 0 if specials else 1))
        n = self.tokens.n
        return (self.tokens.ids[:n], list(zip(self.tokens.start[:n], self.tokens.end[:n]))) if n else ([], [])

    def decode(self, ids, skip):
        out, n = C.c_void_p(), C.c_size_t()
        self._check(self.lib.sonde_tokenizer_decode(C.byref(out), C.byref(n), self.handle, (C.c_int32 * len(ids))(*ids), len(ids), skip))
        data = C.string_at(out, n.value)
        self.lib.sonde_text_free(out)
        return data

    def token(self, i):
        token = self.lib.sonde_tokenizer_token(self.handle, i)
        return None if token is None else token.decode()

    def shown(self, i, data, span):
        n = C.c_size_t()
        token = self.lib.sonde_tokenizer_shown(C.byref(n), self.handle, i, data, *span)
        return C.string_at(token, n.value).decode() if token else None

    def close(self):
        self.lib.sonde_tokenizer_free(self.handle)
        self.lib.sonde_tokens_release(C.byref(self.tokens))
        self.handle = None


def borders(text):
    """Byte at which each character begins, and the end."""
    out, at = [0], 0
    for c in text:
        at += 1 if c < "\x80" else 2 if c < "\u0800" else 3 if c < "\U00010000" else 4
        out.append(at)
    return out


def check_spans(text, theirs, ours, covers):
    """The library's spans are in characters, and leave out what it trims or what normalization swallowed; ours are the bytes that
    a token owns. So theirs lie within ours widened to whole characters, unless ours is empty (a token that owns no byte of the
    text); and where `covers`, ours follow one another and cover the text."""
    starts, n = borders(text), len(text.encode())
    ends = set(starts)
    at = 0
    for (a, b), (start, end) in zip(theirs, ours):
        if covers and (start, end) != (0, 0):
            if start != at:
                return "a gap at byte %d: %s" % (at, (start, end))
            at = end
        if start == end:
            continue
        while start not in ends:
            start -= 1
        while end not in ends:
            end += 1
        if not (start <= starts[a] and starts[b] <= end) and a != b:
            return "bytes %s, the library's are %s" % ((start, end), (starts[a], starts[b]))
    if covers and at != n:
        return "%d bytes of %d are covered" % (at, n)
    return None


def compare(sonde, reference, text, covers=False, specials=True, decode=True, strings=True, spans=True, encoding=None):
    """None, or what differs."""
    theirs = encoding or reference.encode(text, add_special_tokens=specials)
    ids, places = sonde.encode(text, specials)
    if ids != theirs.ids:
        at = next((i for i, (a, b) in enumerate(zip(ids, theirs.ids)) if a != b), min(len(ids), len(theirs.ids)))
        return "ids differ at %d: %s, the library's are %s" % (at, ids[max(0, at - 2):at + 5], theirs.ids[max(0, at - 2):at + 5])
    wrong = check_spans(text, theirs.offsets, places, covers) if spans else None
    if wrong:
        return "spans: " + wrong
    stripping = {t.content for t in reference.get_added_tokens_decoder().values() if t.normalized and (t.lstrip or t.rstrip)}
    data = text.encode()
    for i, token, span in zip(ids, theirs.tokens, places) if strings else ():
        # a token that took in white space after normalization is shown without it; one that merges can make too may be either
        if sonde.token(i) not in stripping and token not in (sonde.shown(i, data, span), sonde.token(i)):
            return "token %d is %r, the library's is %r" % (i, sonde.shown(i, data, span), token)
    for skip in (False, True) if decode else ():
        got, want = sonde.decode(ids, skip), reference.decode(theirs.ids, skip_special_tokens=skip).encode()
        if got != want:
            return "decode(skip=%s): %r, the library's is %r" % (skip, got[:80], want[:80])
    return None
