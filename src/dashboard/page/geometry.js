// From degrees to places in a picture, and what is needed of plane geometry.

const DEGREE = Math.PI / 180;
/** Mercator cannot show the poles. */
const LATITUDE_MAX = 84;
/** No picture shows less than this, in degrees of longitude. */
const SPAN_MIN = 5;

function mercator(latitude) {
  const bounded = Math.max(-LATITUDE_MAX, Math.min(LATITUDE_MAX, latitude));
  return Math.log(Math.tan(Math.PI / 4 + (bounded * DEGREE) / 2)) / DEGREE;
}

function latitudeOf(y) {
  return (2 * Math.atan(Math.exp(y * DEGREE)) - Math.PI / 2) / DEGREE;
}

/** A Mercator projection in which all places, `[longitude, latitude]`, are within the box, with room around them. */
export function fitProjection(places, width, height, room) {
  const xs = places.map(([longitude]) => longitude);
  const ys = places.map(([, latitude]) => mercator(latitude));
  const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const inner = [Math.max(40, width - 2 * room), Math.max(40, height - 2 * room)];
  const spans = [Math.max(right - left, SPAN_MIN), Math.max(top - bottom, SPAN_MIN / 2)];
  const scale = Math.min(inner[0] / spans[0], inner[1] / spans[1]);
  const middle = [(left + right) / 2, (bottom + top) / 2];
  const project = ([longitude, latitude]) => [
    width / 2 + (longitude - middle[0]) * scale,
    height / 2 - (mercator(latitude) - middle[1]) * scale,
  ];
  const unproject = (x, y) => [
    middle[0] + (x - width / 2) / scale,
    latitudeOf(middle[1] - (y - height / 2) / scale),
  ];
  return { project, unproject, scale };
}

/** The outline as the `d` of a path. */
export function outlinePath(outlines, project) {
  const part = (outline) => `M${outline.map((point) => round(project(point))).join("L")}Z`;
  return outlines.map(part).join("");
}

function round([x, y]) {
  return `${x.toFixed(1)},${y.toFixed(1)}`;
}

/** Meridians and parallels through the box, as the `d` of a path. */
export function graticulePath({ project, unproject, scale }, width, height) {
  const step = [1, 2, 5, 10, 20, 30].find((degrees) => degrees * scale > 80) ?? 30;
  const [west, north] = unproject(0, 0);
  const [east, south] = unproject(width, height);
  let d = "";
  for (let longitude = Math.ceil(west / step) * step; longitude <= east; longitude += step) {
    const x = project([longitude, 0])[0].toFixed(1);
    d += `M${x},0V${height}`;
  }
  for (let latitude = Math.ceil(south / step) * step; latitude <= north; latitude += step) {
    const y = project([0, latitude])[1].toFixed(1);
    d += `M0,${y}H${width}`;
  }
  return d;
}

export function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

/** Pushes points apart that are closer than `apart`, and keeps them in the box. The same each time. */
export function separate(points, apart, width, height, room) {
  for (let round = 0; round < 60; round += 1) {
    let moved = false;
    for (let i = 0; i < points.length; i += 1) {
      for (let j = i + 1; j < points.length; j += 1) {
        const [a, b] = [points[i], points[j]];
        const gap = distance(a, b);
        if (gap >= apart) continue;
        // Points in one place part at an angle that only their numbers decide.
        const angle = gap > 0.01 ? Math.atan2(b.y - a.y, b.x - a.x) : (i * 7 + j * 3) % 6.28;
        const push = (apart - gap) / 2 + 0.1;
        a.x -= Math.cos(angle) * push;
        a.y -= Math.sin(angle) * push;
        b.x += Math.cos(angle) * push;
        b.y += Math.sin(angle) * push;
        moved = true;
      }
    }
    for (const point of points) keepInside(point, width, height, room);
    if (!moved) return;
  }
}

export function keepInside(point, width, height, room) {
  point.x = Math.max(room, Math.min(width - room, point.x));
  point.y = Math.max(room, Math.min(height - room, point.y));
}

/** The line from `a` to `b`, moved sideways: seen from the end with the lower number, so that it is one lane both ways. */
export function lane(a, b, isForward, offset) {
  const length = Math.max(1, distance(a, b));
  const sign = isForward ? 1 : -1;
  const [nx, ny] = [((b.y - a.y) / length) * offset * sign, (-(b.x - a.x) / length) * offset * sign];
  return [
    { x: a.x + nx, y: a.y + ny },
    { x: b.x + nx, y: b.y + ny },
  ];
}
