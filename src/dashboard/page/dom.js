// Makes elements. Data enters only as text and attributes, never as markup.

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

function put(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** An HTML element with attributes, listeners (`onclick`) and children (texts or elements). */
export function el(tag, attributes = {}, ...children) {
  return put(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return put(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);
}

/** Sets attributes of an element that is there. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
  }
}

/** Sets the text, only if it differs: what reads the page aloud does not begin again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function byId(id) {
  return document.getElementById(id);
}

/** The number in as few letters as people need. */
export function short(value) {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return "-";
  if (size >= 1e9) return `${trim(value / 1e9)} G`;
  if (size >= 1e6) return `${trim(value / 1e6)} M`;
  if (size >= 1e4) return `${trim(value / 1e3)} k`;
  return trim(value);
}

function trim(value) {
  const size = Math.abs(value);
  const digits = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return String(Number(value.toFixed(digits)));
}

/** Bytes with a binary prefix. */
export function bytes(value) {
  if (value < 1024) return `${value} B`;
  if (value < 1048576) return `${trim(value / 1024)} KiB`;
  if (value < 1073741824) return `${trim(value / 1048576)} MiB`;
  return `${trim(value / 1073741824)} GiB`;
}

/** Seconds as a clock shows them. */
export function clock(seconds) {
  const whole = Math.max(0, seconds);
  if (whole < 60) return `${whole.toFixed(1)} s`;
  const minutes = Math.floor(whole / 60);
  const rest = String(Math.floor(whole % 60)).padStart(2, "0");
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}
