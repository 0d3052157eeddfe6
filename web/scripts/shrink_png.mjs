// Rewrites screenshots with a palette of at most 96 colours, a third of their size: node shrink_png.mjs FROM TO
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32, deflateSync, inflateSync } from "node:zlib";

const COLOURS = 96;
/** Colours nearer to each other than this look the same (squared). */
const SAME = 120;
const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

const [, , from, to] = process.argv;
mkdirSync(to, { recursive: true });
for (const name of readdirSync(from).filter((each) => each.endsWith(".png"))) {
  const small = encode(quantize(decode(readFileSync(join(from, name)))));
  writeFileSync(join(to, name), small);
  console.log(`${name}: ${small.length} bytes`);
}

/** The pixels of an 8-bit RGB or RGBA image without interlacing, as browsers write them; alpha is left out. */
function decode(file) {
  let header;
  const parts = [];
  for (let at = SIGNATURE.length; at < file.length;) {
    const length = file.readUInt32BE(at);
    const type = file.toString("latin1", at + 4, at + 8);
    const body = file.subarray(at + 8, at + 8 + length);
    if (type === "IHDR")
      header = { width: body.readUInt32BE(0), height: body.readUInt32BE(4), channels: body[9] === 6 ? 4 : 3 };
    if (type === "IDAT") parts.push(body);
    at += length + 12;
  }
  const { width, height, channels } = header;
  const raw = inflateSync(Buffer.concat(parts));
  const stride = width * channels;
  const pixels = new Uint32Array(width * height);
  let above = new Uint8Array(stride);
  for (let y = 0; y < height; y += 1) {
    const line = unfilter(
      raw[y * (stride + 1)],
      raw.subarray(y * (stride + 1) + 1, (y + 1) * (stride + 1)),
      above,
      channels,
    );
    for (let x = 0; x < width; x += 1) {
      const at = x * channels;
      pixels[y * width + x] = (line[at] << 16) | (line[at + 1] << 8) | line[at + 2];
    }
    above = line;
  }
  return { width, height, pixels };
}

/** PNG, 9.2: each byte is told relative to its neighbours. */
function unfilter(kind, line, above, channels) {
  const out = Uint8Array.from(line);
  for (let at = 0; at < out.length; at += 1) {
    const left = at < channels ? 0 : out[at - channels];
    const corner = at < channels ? 0 : above[at - channels];
    const up = above[at];
    if (kind === 1) out[at] += left;
    else if (kind === 2) out[at] += up;
    else if (kind === 3) out[at] += (left + up) >> 1;
    else if (kind === 4) {
      const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
      out[at] += a <= b && a <= c ? left : b <= c ? up : corner;
    }
  }
  return out;
}

/** The commonest colours, and for each pixel the nearest of them. */
function quantize({ width, height, pixels }) {
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const palette = [];
  for (const [colour] of [...counts].sort((one, other) => other[1] - one[1])) {
    if (palette.length === COLOURS) break;
    if (palette.every((other) => distance(colour, other) >= SAME)) palette.push(colour);
  }
  const nearest = new Map();
  for (const colour of counts.keys()) nearest.set(colour, nearestIn(palette, colour));
  return { width, height, palette, indexes: Uint8Array.from(pixels, (pixel) => nearest.get(pixel)) };
}

function nearestIn(palette, colour) {
  let best = 0;
  let least = Infinity;
  for (const [index, other] of palette.entries()) {
    const far = distance(colour, other);
    if (far < least) [best, least] = [index, far];
  }
  return best;
}

function distance(one, other) {
  return [16, 8, 0].reduce((sum, shift) => sum + (((one >> shift) & 255) - ((other >> shift) & 255)) ** 2, 0);
}

function encode({ width, height, palette, indexes }) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3, 0, 0, 0], 8);
  const lines = Buffer.alloc(height * (width + 1));
  for (let y = 0; y < height; y += 1) lines.set(indexes.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const colours = Buffer.from(palette.flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]));
  return Buffer.concat([
    SIGNATURE,
    chunk("IHDR", header),
    chunk("PLTE", colours),
    chunk("IDAT", deflateSync(lines, { level: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type, body) {
  const typed = Buffer.concat([Buffer.from(type, "latin1"), body]);
  const whole = Buffer.alloc(body.length + 12);
  whole.writeUInt32BE(body.length, 0);
  whole.set(typed, 4);
  whole.writeUInt32BE(crc32(typed), body.length + 8);
  return whole;
}
