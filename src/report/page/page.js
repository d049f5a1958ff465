"use strict";
/* The page over the blocks that lie in it as deflated JSON, base64: `index` (columns of all features), `tokens` (texts of ids), f0, f1, ..
 * (256 features each) and d0, d1, .. (20 documents each). A block is opened when it is needed. Every text goes into the page as text. */
const meta = JSON.parse(document.getElementById("meta").textContent);
const main = document.getElementById("main"), search = document.getElementById("search");
const ROW = 38, IN_BLOCK = meta.in_block, IN_DOCUMENTS = meta.in_documents;
const blocks = new Map();

async function block(name) {
  if (!blocks.has(name)) blocks.set(name, (async () => {
    const node = document.getElementById("b-" + name);
    const bytes = Uint8Array.from(atob(node.textContent), c => c.charCodeAt(0));
    node.textContent = "";
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  })());
  return blocks.get(name);
}

let index, tokens;
const S = meta.n_features;

/* ---- pieces of a page ---- */

function make(tag, attributes, ...children) {
  const svg = ["svg", "rect", "text", "line", "title", "g"].includes(tag) && attributes && attributes.ns;
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "ns" || value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") node.style.cssText = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}
const show = (...children) => main.replaceChildren(...children.flat(2).filter(child => child !== null && child !== undefined));
const draw = (tag, attributes, ...children) => make(tag, { ns: true, ...attributes }, ...children);

function shown(text) {
  return text.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/[\u0000-\u001f\u007f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/g, c => "\\x" + c.charCodeAt(0).toString(16).padStart(2, "0"));
}
const text_of = id => tokens[id] === undefined ? "#" + id : tokens[id];
const chip = id => make("span", { class: "token", dir: "auto" }, shown(text_of(id)));

function number(x, digits = 3) {
  if (x === null || x === undefined) return "–";
  if (x === 0) return "0";
  const size = Math.abs(x);
  return size >= 100 ? x.toLocaleString("en", { maximumFractionDigits: 0 }) : size >= 0.01 ? x.toPrecision(digits) : x.toExponential(1);
}
const percent = x => x === 0 ? "0" : x >= 0.1 ? (100 * x).toFixed(0) + " %" : x >= 0.0001 ? (100 * x).toPrecision(2) + " %" : (100 * x).toExponential(0) + " %";
const count = n => n.toLocaleString("en");

/* Bars with an axis; values are counts, the labels of some of them stand below. */
function bars(values, { from, to, log = false, title, words }) {
  const W = 420, H = 150, L = 6, B = 22, most = Math.max(1, ...values), n = values.length, w = (W - 2 * L) / n;
  const high = v => v === 0 ? 0 : Math.max(1.5, (H - B - 8) * (log ? Math.log1p(v) / Math.log1p(most) : v / most));
  const rects = values.map((v, i) => draw("rect", { x: L + i * w + 0.5, y: H - B - high(v), width: Math.max(1, w - 1), height: high(v) },
    draw("title", {}, `${number(from + (to - from) * i / n)} – ${number(from + (to - from) * (i + 1) / n)}: ${count(v)}`)));
  const marks = [0, 0.25, 0.5, 0.75, 1].map(f => draw("text", { x: L + f * (W - 2 * L), y: H - 6, "text-anchor": f === 0 ? "start" : f === 1 ? "end" : "middle" }, number(from + (to - from) * f, 2)));
  return make("figure", {}, make("figcaption", {}, title),
    draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": words }, draw("line", { x1: L, x2: W - L, y1: H - B, y2: H - B }), rects, marks));
}

/* A text whose tokens are as dark, and as thickly underlined, as the feature is strong on them. */
function lit(ids, acts, most, here, tag = "span") {
  return ids.map((id, i) => {
    const a = acts[i] || 0, share = most > 0 ? Math.min(1, Math.abs(a) / most) : 0, on = a !== 0;
    const text = text_of(id).split("\n").flatMap((piece, k) => k === 0 ? [shown(piece)] : [make("span", { class: "newline", "aria-label": "new line" }, "↵"), "\n", shown(piece)]);
    return make(tag, { class: "t" + (on ? " on" : "") + (i === here ? " here" : ""), title: on ? number(a) : null, "data-v": on ? number(a, 2) : null, "data-i": i, type: tag === "button" ? "button" : null,
      style: on ? `--a:${(0.12 + 0.6 * share).toFixed(2)};--b:${(0.5 + 3 * share).toFixed(1)}px` : null }, text);
  });
}

/* ---- the list ---- */

const columns = [
  { name: "feature", value: s => s, from: 1 },
  { name: "is on at", value: s => index.label[s] || index.summary[s], from: 1 },
  { name: "density", value: s => index.n_fired[s], from: -1 },
  { name: "max", value: s => index.max[s], from: -1 },
  { name: "enc · dec", value: s => index.cosine[s] === null ? -2 : index.cosine[s], from: -1 },
  { name: "texts", value: s => index.n_documents[s], from: -1 },
];
const filters = { all: () => true, living: s => index.n_fired[s] > 0, dead: s => index.n_fired[s] === 0, "dense (> 10 %)": s => index.n_fired[s] > 0.1 * meta.n_tokens,
  "rare (< 0.01 %)": s => index.n_fired[s] > 0 && index.n_fired[s] < 0.0001 * meta.n_tokens, labelled: s => index.label[s] !== "" };
const state = { sort: 2, way: -1, filter: "living", query: "", order: [], at: 0, top: 0, values: false };

/* Features that a query means: a number, or those with a matching token, logit or label. */
function matches(query) {
  const words = query.trim().toLowerCase();
  if (words === "") return null;
  const found = new Uint8Array(S), ids = new Set();
  if (/^#?\d+$/.test(words)) { const s = Number(words.replace("#", "")); if (s < S) found[s] = 1; }
  for (const id in tokens) if (tokens[id].toLowerCase().includes(words)) ids.add(Number(id));
  for (let s = 0; s < S; s++)
    if (!found[s]) found[s] = index.tokens[s].some(id => ids.has(id)) || index.logits[s].some(id => ids.has(id)) || index.words[s].includes(words) || index.label[s].toLowerCase().includes(words) ? 1 : 0;
  return found;
}

function arrange() {
  const found = matches(state.query), keep = filters[state.filter], value = columns[state.sort].value;
  const keys = new Array(S), order = [];
  for (let s = 0; s < S; s++) if ((found ? found[s] : keep(s))) { order.push(s); keys[s] = value(s); }
  order.sort((a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : 0) * state.way || a - b);
  state.order = order;
  state.at = Math.min(state.at, Math.max(0, order.length - 1));
}

function row(i) {
  const s = state.order[i], share = index.n_fired[s] / meta.n_tokens, wide = share > 0 ? Math.max(0, 100 * (1 + Math.log10(share) / 6)) : 0;
  return make("a", { class: "row", href: "#/feature/" + s, style: `top:${(i + 1) * ROW}px`, "aria-current": i === state.at ? "true" : null, role: "row" },
    make("span", { class: "number", role: "cell" }, String(s)),
    make("span", { class: "tokens", role: "cell" }, index.label[s] ? index.label[s] : index.tokens[s].slice(0, 5).flatMap(id => [chip(id), " "])),
    make("span", { class: "density", role: "cell" }, make("i", { style: `--w:${wide.toFixed(0)}%` }), percent(share)),
    make("span", { class: "number", role: "cell" }, number(index.max[s])), make("span", { class: "number", role: "cell" }, number(index.cosine[s], 2)),
    make("span", { class: "number", role: "cell" }, count(index.n_documents[s])));
}

function fill_rows(box) {
  const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 4), end = Math.min(state.order.length, first + Math.ceil(box.clientHeight / ROW) + 10);
  state.top = box.scrollTop;
  box.querySelectorAll(".row").forEach(node => node.remove());
  const rows = [];
  for (let i = first; i < end; i++) rows.push(row(i));
  box.append(...rows);
  if (!state.order.length) box.append(make("p", { class: "row note", style: `top:${ROW}px` }, "nothing matches"));
}

function list_head(box) {
  return make("div", { class: "head", role: "row" }, columns.map((column, i) => make("button", { type: "button", role: "columnheader", "aria-sort": i === state.sort ? (state.way > 0 ? "ascending" : "descending") : null,
    onclick: () => { state.way = state.sort === i ? -state.way : column.from; state.sort = i; state.at = 0; show_rows(); } }, column.name)));
}

function show_rows() {
  const box = document.getElementById("rows");
  if (!box) return;
  arrange();
  box.replaceChildren(list_head(box), make("div", { style: `height:${(state.order.length + 1) * ROW - ROW}px` }));
  box.scrollTop = 0;
  fill_rows(box);
  document.querySelector(".tools .count").textContent = `${count(state.order.length)} of ${count(S)} features`;
  document.querySelectorAll(".tools button").forEach(b => b.setAttribute("aria-pressed", b.dataset.filter === state.filter && state.query === ""));
}

/* log10 of densities in quarters of a power of ten. */
function density_bins() {
  const bins = new Array(24).fill(0);
  for (let s = 0; s < S; s++) if (index.n_fired[s] > 0) bins[Math.max(0, Math.min(23, Math.floor((Math.log10(index.n_fired[s] / meta.n_tokens) + 6) * 4)))]++;
  return bins;
}

function list_page() {
  const dead = index.n_fired.filter(n => n === 0).length;
  const box = make("div", { class: "rows", id: "rows", role: "table", "aria-label": "features", tabindex: 0, onscroll: () => fill_rows(box) });
  show(
    make("h1", {}, `${count(S)} features of ${meta.hook}`),
    make("p", { class: "note" }, `${meta.architecture} autoencoder of ${meta.model_name || meta.model.split("/").pop()}; ${count(meta.n_tokens)} positions of ${count(meta.n_documents)} texts; ${number(meta.l0[0])} features on at a position; ${count(dead)} never on.`),
    make("div", { class: "plots" },
      bars(density_bins(), { from: -6, to: 0, title: "features by log10 of their density", words: "histogram of densities: how many features are on at what share of positions" }),
      bars(meta.l0_histogram, { from: 0, to: meta.l0_max, log: true, title: "positions by the number of features on (heights are logarithms)", words: "histogram of the number of features that are on at a position" })),
    make("div", { class: "tools" }, Object.keys(filters).map(name => make("button", { type: "button", "data-filter": name, onclick: () => { state.filter = name; state.query = search.value = ""; state.at = 0; show_rows(); } }, name)),
      make("span", { class: "count", role: "status" })), box);
  const top = state.top;
  show_rows();
  box.scrollTop = top;
  document.title = `Features of ${meta.hook}`;
}

/* ---- a feature ---- */

function pairs(title, rows, words) {
  if (!rows.length) return null;
  return make("section", { class: "card" }, make("h2", {}, title), words ? make("p", { class: "note" }, words) : null,
    make("table", {}, rows.map(([what, ...numbers]) => make("tr", {}, make("td", {}, what), numbers.map(x => make("td", { class: "number" }, x))))));
}

async function feature_page(s) {
  if (!(s >= 0 && s < S)) return missing(`There is no feature ${s}: they are 0 to ${S - 1}.`);
  const f = (await block("f" + Math.floor(s / IN_BLOCK)))[s % IN_BLOCK], most = index.max[s], share = index.n_fired[s] / meta.n_tokens;
  const bands = [...new Set(f.examples.map(e => e[0]))].sort((a, b) => a - b);
  const band_name = b => b === 0 ? "Largest activations" : `${number(most * (1 - b / meta.n_bands))} – ${number(most * (1 - (b - 1) / meta.n_bands))}`;
  const whole = document_ids => document_ids < meta.n_kept;
  const example = ([, text, position, value, first, ids, acts]) => {
    const dense = new Array(ids.length).fill(0);
    for (let i = 0; i < acts.length; i += 2) dense[acts[i]] = acts[i + 1] / 255 * most;
    dense[position - first] = value;
    return make("div", { class: "example" }, make("span", { class: "number" }, whole(text) ? make("a", { href: `#/text/${text}/${position}/${s}` }, number(value)) : number(value)),
      make("div", { class: "text", dir: "auto" }, lit(ids, dense, most, position - first)));
  };
  show(
    make("p", { class: "note" }, make("a", { href: "#/feature/" + Math.max(0, s - 1) }, "← previous"), "  ·  ", make("a", { href: "#/feature/" + Math.min(S - 1, s + 1) }, "next →"), "  ·  ", make("a", { href: "#/" }, "all features")),
    make("h1", {}, `Feature ${s}`, index.label[s] ? ": " + index.label[s] : ""),
    make("div", { class: "side" },
      make("div", {},
        make("div", { class: "tools" }, make("button", { type: "button", id: "values", "aria-pressed": String(state.values), onclick: toggle_values }, "numbers"), make("span", { class: "note" }, "darker and thicker: stronger; the frame is the token that the example is for")),
        f.examples.length ? bands.map(b => make("section", {}, make("h2", {}, band_name(b)), make("div", { class: "examples" }, f.examples.filter(e => e[0] === b).map(example))))
          : make("p", { class: "note" }, "It was never on in these texts.")),
      make("div", { class: "stack" },
        make("section", { class: "card" }, make("h2", {}, "Numbers"), make("dl", { class: "facts" },
          [["density", percent(share), "share of measured positions where it is on"], ["positions", count(index.n_fired[s])], ["texts", count(index.n_documents[s])], ["largest", number(most)],
            ["mean where on", number(index.mean[s])], ["encoder · decoder", number(index.cosine[s], 2), "cosine of its two vectors"], ["|decoder row|", number(index.decoder_norm[s])], ["encoder bias", number(index.encoder_bias[s])]]
            .flatMap(([name, value, title]) => [make("dt", { title }, name), make("dd", {}, value)]))),
        f.histogram.some(n => n > 0) ? bars(f.histogram, { from: 0, to: most, log: true, title: "positions by activation (heights are logarithms)", words: `histogram of its activations from 0 to ${number(most)}` }) : null,
        pairs("Is on at", f.top.map(([id, n, sum]) => [chip(id), count(n), number(sum / n)]), "token, how often, mean activation"),
        pairs("Comes after", f.before.map(([id, n]) => [chip(id), count(n)])),
        pairs("Makes likelier", f.likelier.map(([id, x]) => [chip(id), "+" + number(x)]), "logits of its decoder row"),
        pairs("Makes less likely", f.unlikelier.map(([id, x]) => [chip(id), number(x)])),
        pairs("Classes of tokens", f.classes.sort((a, b) => b[2] - a[2]).map(([c, n, llr]) => [make("span", { title: meta.classes[c][1] }, meta.classes[c][0]), count(n), (llr > 0 ? "+" : "") + llr.toFixed(2)]), "how often, and ln of how much more often than elsewhere"),
        pairs("Similar features", f.neighbours.map(([other, cosine]) => [make("span", {}, make("a", { href: "#/feature/" + other }, String(other)), " ", index.tokens[other].slice(0, 3).flatMap(id => [chip(id), " "])), cosine.toFixed(2)]), "cosine of decoder rows"),
        pairs("Neurons", f.neurons.map(([neuron, r]) => [`neuron ${neuron}`, r.toFixed(2)]), `Pearson correlation with ${meta.neurons}`))));
  document.title = `Feature ${s}`;
}

function toggle_values() {
  state.values = !state.values;
  document.body.classList.toggle("values", state.values);
  document.querySelectorAll("#values").forEach(b => b.setAttribute("aria-pressed", state.values));
}

/* ---- a text ---- */

async function text_page(number_of, position, feature) {
  if (!(number_of >= 0 && number_of < meta.n_kept)) return missing(meta.n_kept ? `Text ${number_of} is not kept here: 0 to ${meta.n_kept - 1} are.` : "No texts were kept whole ('sonde features --documents').");
  const d = (await block("d" + Math.floor(number_of / IN_DOCUMENTS)))[number_of % IN_DOCUMENTS], n = d.ids.length;
  position = Number.isNaN(position) ? Math.min(1, n - 1) : Math.max(0, Math.min(n - 1, position));
  const has_feature = !Number.isNaN(feature) && feature < S;
  const value_at = (i, s) => { const k = d.features[i].indexOf(s); return k < 0 ? 0 : d.acts[i][k] / 1000; };
  const acts = d.ids.map((_, i) => has_feature ? value_at(i, feature) : 0);
  const most = has_feature ? index.max[feature] : 1;
  const nodes = lit(d.ids, acts, most, -1, "button");
  const go = i => { history.replaceState(null, "", `#/text/${number_of}/${i}${has_feature ? "/" + feature : ""}`); choose(i); };
  const side = make("section", { class: "card", "aria-live": "polite" });
  nodes.forEach((node, i) => { node.addEventListener("click", () => go(i)); node.tabIndex = i === position ? 0 : -1; });
  function choose(i) {
    nodes.forEach((node, k) => { node.setAttribute("aria-pressed", k === i); node.tabIndex = k === i ? 0 : -1; });
    page_keys = { ArrowRight: () => { if (i + 1 < n) { go(i + 1); nodes[i + 1].focus(); } }, ArrowLeft: () => { if (i > 0) { go(i - 1); nodes[i - 1].focus(); } },
      n: () => location.hash = `#/text/${Math.min(meta.n_kept - 1, number_of + 1)}`, p: () => location.hash = `#/text/${Math.max(0, number_of - 1)}` };
    side.replaceChildren(make("h2", {}, `Position ${i}: `, chip(d.ids[i])), d.features[i].length
      ? make("table", {}, d.features[i].map((s, k) => make("tr", {}, make("td", {}, make("a", { href: "#/feature/" + s }, String(s)), " ", index.label[s] || index.tokens[s].slice(0, 3).flatMap(id => [chip(id), " "])),
        make("td", { class: "number" }, number(d.acts[i][k] / 1000)), make("td", {}, make("a", { href: `#/text/${number_of}/${i}/${s}`, title: "show it in the text" }, "show")))))
      : make("p", { class: "note" }, "No feature is on here."));
  }
  show(
    make("p", { class: "note" }, make("a", { href: "#/text/" + Math.max(0, number_of - 1) }, "← previous"), "  ·  ", make("a", { href: "#/text/" + Math.min(meta.n_kept - 1, number_of + 1) }, "next →")),
    make("h1", {}, `Text ${number_of}`),
    make("p", { class: "note" }, has_feature ? ["Lit: feature ", make("a", { href: "#/feature/" + feature }, String(feature)), ".  ", make("a", { href: `#/text/${number_of}/${position}` }, "none")] : "Choose a token: its strongest features stand beside it."),
    make("div", { class: "side" }, make("div", { class: "card text", dir: "auto" }, nodes), side));
  choose(position);
  document.title = `Text ${number_of}`;
}

/* ---- about, and nothing ---- */

function about_page() {
  const rows = Object.entries(meta.about).filter(([, value]) => value !== "");
  show(make("h1", {}, "About"), make("dl", { class: "facts card" }, rows.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, String(value))])),
    make("h2", {}, "What the numbers are"), make("ul", {}, [
      "Density: the share of measured positions where a feature is not 0.",
      "Activations beside an example's own are shown in 255 steps of the feature's largest; those of whole texts in thousandths.",
      "Examples: the largest activations, one of a text at most; then samples, without preference, of equal parts of (0, max].",
      "Logits: the decoder's row through the last normalisation's gain and the unembedding, less the mean over the vocabulary.",
      "Classes: ln of the share of its positions that are in the class, over the share of all positions.",
      "Similar features: cosines of decoder rows. Neurons: Pearson's correlation over all measured positions.",
      meta.left_out_examples ? `Of each feature ${meta.left_out_examples} examples are left out, so that the page stays small; the database has them.` : ""].filter(x => x).map(x => make("li", {}, x))));
  document.title = "About";
}

function missing(words) { show(make("h1", {}, "Nothing here"), make("p", {}, words), make("p", {}, make("a", { href: "#/" }, "all features"))); }

/* ---- ways ---- */

let page_keys = {};
async function route() {
  const [, page, a, b, c] = (location.hash || "#/").split("/"), s = parseInt(a, 10);
  page_keys = {};
  if (page) search.blur();
  document.querySelectorAll("nav a").forEach(link => { const here = link.dataset.page === (page === "text" || page === "about" ? page : "list"); here ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current"); });
  if (page === "feature") { page_keys = { n: () => location.hash = "#/feature/" + Math.min(S - 1, s + 1), p: () => location.hash = "#/feature/" + Math.max(0, s - 1) }; await feature_page(s); }
  else if (page === "text") await text_page(s, parseInt(b, 10), parseInt(c, 10));
  else if (page === "about") about_page();
  else list_page();
  if (page) window.scrollTo(0, 0);
}

function move(by) {
  const box = document.getElementById("rows");
  if (!box || !state.order.length) return;
  state.at = Math.max(0, Math.min(state.order.length - 1, state.at + by));
  const y = state.at * ROW;
  if (y < box.scrollTop) box.scrollTop = y;
  if (y + 3 * ROW > box.scrollTop + box.clientHeight) box.scrollTop = y + 3 * ROW - box.clientHeight;
  fill_rows(box);
}

function switch_theme() {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
}

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === search) {
    if (event.key === "Escape") { search.value = ""; search.dispatchEvent(new Event("input")); search.blur(); }
    if (event.key === "Enter" && state.order.length) { search.blur(); location.hash = "#/feature/" + state.order[0]; }
    if (event.key === "ArrowDown") { search.blur(); document.getElementById("rows")?.focus(); event.preventDefault(); }
    return;
  }
  if (document.getElementById("keys").open) return;
  const keys = { "/": () => { search.focus(); search.select(); }, j: () => move(1), k: () => move(-1), ArrowDown: document.getElementById("rows") ? () => move(1) : null, ArrowUp: document.getElementById("rows") ? () => move(-1) : null,
    Enter: document.activeElement && document.activeElement.matches("a, button, summary") ? null : () => { if (document.getElementById("rows") && state.order.length) location.hash = "#/feature/" + state.order[state.at]; },
    t: switch_theme, v: toggle_values, "?": () => document.getElementById("keys").showModal(), Escape: () => { location.hash = "#/"; }, ...page_keys };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
let waiting = 0;
search.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { state.query = search.value; state.at = 0; if (document.getElementById("rows")) show_rows(); else location.hash = "#/"; }, 20);
});
document.getElementById("theme").addEventListener("click", switch_theme);
document.getElementById("help").addEventListener("click", () => document.getElementById("keys").showModal());
window.addEventListener("hashchange", route);
window.addEventListener("resize", () => { const box = document.getElementById("rows"); if (box) fill_rows(box); });
(async () => {
  document.getElementById("name").textContent = meta.title;
  [index, tokens] = await Promise.all([block("index"), block("tokens")]);
  await route();
  document.documentElement.dataset.ready = "yes";
})();
