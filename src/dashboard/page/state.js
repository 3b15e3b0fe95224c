// What is so now, folded from a scene and its moments. Knows nothing of the page.

const NOTES_MAX = 500;
const SAMPLES_MAX = 1200;

/** Nothing has happened yet. */
export function newState(scene) {
  return {
    scene,
    at: 0,
    step: null,
    loads: new Map(),
    instances: new Map(),
    flows: new Map(),
    downMachines: new Set(),
    downLinks: new Set(),
    notes: [],
    noteCount: 0,
    samples: new Map(),
    details: new Map(),
    messageCount: 0,
  };
}

/** Adds a moment. What is not named in it stays as it was. */
export function fold(state, moment) {
  state.at = Math.max(state.at, moment.at_s);
  if (moment.step !== null && moment.step !== undefined) state.step = moment.step;
  for (const load of moment.loads ?? []) state.loads.set(`${load.link}/${load.from}`, load);
  state.messageCount += (moment.messages ?? []).length;
  for (const change of moment.instances ?? []) foldInstance(state, change, moment.at_s);
  for (const { flow, label, path } of moment.flows ?? []) {
    if (path.length === 0) state.flows.delete(flow);
    else state.flows.set(flow, { label, path });
  }
  for (const change of moment.states ?? []) foldUp(state, change);
  foldNotes(state, moment.notes ?? []);
  for (const sample of moment.samples ?? []) foldSample(state, sample);
  for (const detail of moment.details ?? []) state.details.set(detail.machine, detail);
}

function foldInstance(state, change, at) {
  if (!state.instances.has(change.machine)) state.instances.set(change.machine, new Map());
  const here = state.instances.get(change.machine);
  if (change.state === "gone") {
    here.delete(change.instance);
  } else {
    const since = here.get(change.instance)?.since ?? at;
    here.set(change.instance, { module: change.module, state: change.state, signalled: change.signalled, since });
  }
}

function foldUp(state, change) {
  const [set, index, isUp] = change.machine
    ? [state.downMachines, change.machine.machine, change.machine.is_up]
    : [state.downLinks, change.link.link, change.link.is_up];
  if (isUp) set.delete(index);
  else set.add(index);
}

function foldNotes(state, notes) {
  for (const note of notes) {
    state.noteCount += 1;
    state.notes.push({ ...note, number: state.noteCount });
  }
  if (state.notes.length > NOTES_MAX) state.notes.splice(0, state.notes.length - NOTES_MAX);
}

function foldSample(state, { chart, series, at_s: at, value }) {
  if (value === null) return;
  const key = `${chart}/${series}`;
  if (!state.samples.has(key)) state.samples.set(key, []);
  const line = state.samples.get(key);
  // Every second one is enough for a line of some hundred pixels.
  if (line.length >= SAMPLES_MAX) {
    const kept = line.filter((_, place) => place % 2 === 0);
    line.splice(0, line.length, ...kept);
  }
  line.push([at, value]);
}

/** The instances at a machine, in the order in which they came. */
export function instancesAt(state, machine) {
  return [...(state.instances.get(machine) ?? [])].map(([name, instance]) => ({ name, ...instance }));
}

/** Flows that look the same, as one: label, way, how many. */
export function flowBundles(state) {
  const bundles = new Map();
  for (const { label, path } of state.flows.values()) {
    const key = `${label}\u0000${path.join(",")}`;
    const bundle = bundles.get(key);
    if (bundle) bundle.count += 1;
    else bundles.set(key, { key, label, path, count: 1 });
  }
  return [...bundles.values()];
}

/** What a message is, for its colour. */
export function messageKind({ layer, label }) {
  if (layer === "gist") return "gist";
  const word = label.toLowerCase();
  if (word.startsWith("setup") || word.startsWith("refresh")) return "setup";
  if (word.startsWith("remove")) return "remove";
  if (word.startsWith("probe")) return "probe";
  if (word.startsWith("notify")) return "notify";
  return /error|refus|fail|denied/.test(word) ? "remove" : "answer";
}
