const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs ?? [];
const GROUPS = DATA.groups ?? [];
const NULL_EXPONENT = 127;
const KEPT_GROUPS = 6;
const decoded = new Map();

/** Number the groups of each step of a run, so that the address of a group outlives new steps. */
function numberGroups() {
  const seen = new Map();
  for (const group of GROUPS) {
    const key = `${group.run} ${group.step}`;
    group.ordinal = group.number ?? seen.get(key) ?? 0;
    seen.set(key, group.ordinal + 1);
  }
}

/** Does the credit of a run measure gaps? One that spreads the advantage evenly does not, and has no strength. */
function measuresGaps(i) {
  const { strength } = RUNS[i];
  const scored = () => GROUPS.some((group) => group.run === i && group.replies.some((reply) => reply.scored));
  return (strength !== null && strength !== undefined) || scored();
}

/** Does the credit of a run look at tokens by their roles? Then it clips their weights, and neutral tokens have no gap. */
function goesByRole(run) {
  return run.clip?.every((bound) => typeof bound === "number") ?? false;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function base64Bytes(text) {
  const raw = atob(text.trim());
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

/** Values as mantissa · 10^exponent: high bytes of `count` mantissas, low bytes, exponents, from `offset`. NaN is null. */
function plane(view, offset, count) {
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const exponent = view.getInt8(offset + 2 * count + i);
    const mantissa = (view.getInt8(offset + i) << 8) | view.getUint8(offset + count + i);
    values[i] = exponent === NULL_EXPONENT ? NaN : Number(`${mantissa}e${exponent}`);
  }
  return values;
}

/** The replies of a blob: [{tokens, roles, scored, gaps, weights}]. */
function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(0, true);
  const { replies } = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const count = replies.reduce((sum, reply) => sum + reply.tokens.length, 0);
  const gaps = plane(view, 4 + length, count);
  const weights = plane(view, 4 + length + 3 * count, count);
  let start = 0;
  return replies.map((reply) => {
    const end = start + reply.tokens.length;
    const part = { gaps: gaps.subarray(start, end), weights: weights.subarray(start, end) };
    start = end;
    return { ...reply, scored: reply.gaps, ...part };
  });
}

/** The tokens of a group, decoded when first looked at. */
async function repliesOf(group) {
  if (!decoded.has(group.blob)) {
    const blob = document.getElementById(group.blob);
    if (!blob) throw new Error(`the page holds no ${group.blob}`);
    decoded.set(group.blob, unpack(await inflate(base64Bytes(blob.textContent))));
    if (decoded.size > KEPT_GROUPS) decoded.delete(decoded.keys().next().value);
  }
  return decoded.get(group.blob);
}

/** The advantage of a token, A·((1 − λ) + λ·w); NaN where it is not known. */
function tokenAdvantage(advantage, weight, strength) {
  if (advantage === null || advantage === undefined) return NaN;
  return advantage * (1 - strength + strength * weight);
}
