// How a label looks: a colour and a shape. Nobody tells 95 colours apart, but twelve colours times eight shapes they do.
// A label's mark depends on its number only, so it does not change when others come.

import { svg } from './dom.js';

/** In the square from -1 to 1, about equally large to the eye. */
const SHAPES = [
  'M0,-0.9A0.9,0.9 0 1 1 0,0.9A0.9,0.9 0 1 1 0,-0.9Z',
  'M-0.8,-0.8H0.8V0.8H-0.8Z',
  'M0,-1L1,0.8H-1Z',
  'M0,-1.1L1.1,0L0,1.1L-1.1,0Z',
  'M-0.35,-1H0.35V-0.35H1V0.35H0.35V1H-0.35V0.35H-1V-0.35H-0.35Z',
  'M0,1L1,-0.8H-1Z',
  'M0,-1A1,1 0 1 1 0,1A1,1 0 1 1 0,-1ZM0,-0.5A0.5,0.5 0 1 0 0,0.5A0.5,0.5 0 1 0 0,-0.5Z',
  'M-1,-0.55L-0.55,-1L0,-0.45L0.55,-1L1,-0.55L0.45,0L1,0.55L0.55,1L0,0.45L-0.55,1L-1,0.55L-0.45,0Z',
];

/** Hues in degrees of OKLCH, each far from those before it, and how much lighter (or darker) than its neighbours. */
const HUES = [
  [255, 0], [40, 0], [150, 0], [330, 0], [85, 0.06], [200, 0.02], [300, -0.04], [15, -0.06], [120, 0.04], [225, -0.06],
  [60, -0.05], [355, 0.05],
];

export const shapeOf = (label) => Math.floor(label / HUES.length) % SHAPES.length;
export const SHAPE_COUNT = SHAPES.length;

/** OKLCH to sRGB (Ottosson 2020), as [r, g, b] of 0 to 255, clipped. */
const srgb = (lightness, chroma, hue) => {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((linear) => {
    const clipped = Math.min(1, Math.max(0, linear));
    return Math.round(255 * (clipped <= 0.0031308 ? 12.92 * clipped : 1.055 * clipped ** (1 / 2.4) - 0.055));
  });
};

/** A label's colour as [r, g, b], for a dark or a light ground. */
export const colourOf = (label, dark) => {
  const [hue, lighter] = HUES[label % HUES.length];
  return srgb((dark ? 0.74 : 0.58) + lighter, dark ? 0.13 : 0.15, hue);
};

/** A label's mark as a picture of 14 px. */
export const swatch = (label, dark) => {
  const path = svg('path', { d: SHAPES[shapeOf(label)], fill: `rgb(${colourOf(label, dark)})` });
  return svg('svg', { class: 'swatch', viewBox: '-1.2 -1.2 2.4 2.4', width: 14, height: 14, 'aria-hidden': 'true' }, path);
};

/** How much of each pixel a shape of `radius` px covers, 0 to 256, in a square with an odd side. */
export const stamp = (shape, radius) => {
  const reach = Math.ceil(1.1 * radius);
  const side = 2 * reach + 1;
  const context = new OffscreenCanvas(side, side).getContext('2d', { willReadFrequently: true });
  context.translate(reach + 0.5, reach + 0.5);
  context.scale(radius, radius);
  context.fill(new Path2D(SHAPES[shape]));
  const pixels = context.getImageData(0, 0, side, side).data;
  const cover = new Uint16Array(side * side);
  for (let i = 0; i < cover.length; i += 1) cover[i] = Math.round((pixels[4 * i + 3] * 256) / 255);
  return { reach, side, cover };
};
