"use strict";

// Characters that change the direction of text, or that nobody can see: written as ⟨U+202E⟩.
const UNSEEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e" +
    "\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}]|\\p{Cs}",
  "gu",
);
const LONGEST_TEXT = 20000;
const LONGEST_TOKEN = 500;
const SVG = "http://www.w3.org/2000/svg";
const PICTURE = /^data:image\/(png|webp|jpeg|gif|svg\+xml)[;,]/;

function codePoint(character) {
  return `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

function shortened(value, longest) {
  const text = String(value ?? "");
  if (text.length <= longest) return text;
  return `${text.slice(0, longest)}… (${text.length.toLocaleString("en")} characters)`;
}

/** Text for attributes and options, which cannot hold marks of their own. */
function visible(value, longest = LONGEST_TEXT) {
  return shortened(value, longest).replace(UNSEEN, codePoint);
}

/** Append text to a node; unseen characters become marks. The only way that text enters the page. */
function write(node, value, longest = LONGEST_TEXT) {
  const text = shortened(value, longest);
  if (text.search(UNSEEN) < 0) {
    node.append(text);
    return;
  }
  let end = 0;
  for (const match of text.matchAll(UNSEEN)) {
    const sign = document.createElement("span");
    sign.className = "mark";
    sign.textContent = codePoint(match[0]);
    node.append(text.slice(end, match.index), sign);
    end = match.index + match[0].length;
  }
  node.append(text.slice(end));
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : visible(value));
    }
  }
  for (const child of children.flat(3)) {
    if (child instanceof Node) node.append(child);
    else if (child !== null && child !== undefined && child !== false) write(node, child);
  }
  return node;
}

/** An element: "on…" attributes are listeners (functions), null and false ones are left out; strings are text. */
function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Names and values as a list of descriptions. */
function described(pairs, attributes = {}) {
  return el("dl", attributes, pairs.map(([name, value]) => [el("dt", {}, name), el("dd", { dir: "auto" }, value)]));
}

/** An image from a data URI, or null where the URI is anything else. */
function picture(uri, alt, attributes = {}) {
  if (typeof uri !== "string" || !PICTURE.test(uri)) return null;
  const image = el("img", { alt, ...attributes });
  image.src = uri;
  return image;
}

/** A number with `digits` significant digits; a dash where there is none. */
function number(value, digits = 4) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text;
  if (size < 1e-4 || size >= 1e9) text = size.toExponential(digits - 1).replace("+", "").replace("-", "−");
  else if (size >= 10 ** (digits - 1)) text = Math.round(size).toLocaleString("en");
  else text = size.toPrecision(digits);
  return (value < 0 ? "−" : "") + text;
}

/** A number as short as its digits allow: 1 rather than 1.000. */
function brief(value, digits = 4) {
  const text = number(value, digits);
  return text.includes(".") ? text.replace(/\.?0+(?=e|$)/, "") : text;
}

/** A number with a fixed count of decimals, for columns to compare. */
function decimals(value, count = 3) {
  return typeof value === "number" && Math.abs(value) < 100 ? value.toFixed(count).replace("-", "−") : brief(value);
}

function signed(value, text = decimals) {
  return (value > 0 ? "+" : "") + text(value);
}

function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}
