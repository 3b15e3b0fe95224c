// The page: brings what happens to what draws it, and the clock to both.

import { byId, setText } from "./dom.js";
import { fold, newState } from "./state.js";
import { createMap, drawInstances, drawScene, drawState, selectMachine } from "./map.js";
import { advance, clearTraffic, createTraffic, launch, skipTo, whenArrived } from "./traffic.js";
import { createCharts, drawChart } from "./charts.js";
import { closeDetails, createDetails, drawDetails, openDetails } from "./details.js";
import { allow, createStory, tellConnection, tellNotes, tellPlayback, tellScene, tellTime, togglePlay } from "./story.js";
import { connectServer } from "./source_sse.js";
import { playRecord, recordedScene } from "./source_record.js";

/** The picture is this far behind what is known, in seconds, so that it moves evenly. */
const BEHIND = 0.15;
/** How often what does not move is drawn, in ms. */
const DRAW_PERIOD = 200;
const EMPTY = { title: "", summary: "", stage: "live", machines: [], links: [], steps: [], charts: [], duration_s: null };

const page = {
  state: newState(EMPTY),
  playback: { is_running: false, speed: 1, has_ended: false, results: [] },
  connection: ["connecting", "Connecting"],
  at: 0,
  frame: null,
  drawn: 0,
  isStale: true,
  mayControl: false,
  charts: [],
  source: null,
  hasScene: false,
};

function openMachine(machine) {
  selectMachine(page.map, machine);
  openDetails(page.details, page.state, machine);
}

function closeMachine() {
  if (page.details.machine === null) return;
  selectMachine(page.map, null);
  closeDetails(page.details);
}

function onScene(scene) {
  const open = page.hasScene ? page.state.scene.machines[page.details.machine]?.name : undefined;
  const isSame = page.hasScene && JSON.stringify(scene) === JSON.stringify(page.state.scene);
  page.hasScene = true;
  page.state = newState(scene);
  page.at = 0;
  clearTraffic(page.traffic);
  tellScene(page.story, scene);
  allowAll();
  drawScene(page.map, scene);
  if (!isSame) page.charts = createCharts(byId("charts"), scene);
  const again = scene.machines.findIndex(({ name }) => name === open);
  if (again >= 0) {
    page.details.machine = again;
    selectMachine(page.map, again);
  } else {
    closeMachine();
  }
  page.isStale = true;
}

/** What was before is told without arrows, except those that still fly. */
function onCatchUp(moments) {
  for (const moment of moments) fold(page.state, moment);
  page.at = page.state.at;
  for (const machine of page.state.instances.keys()) drawInstances(page.map, page.state, machine);
  for (const message of moments.at(-1)?.messages ?? []) {
    if ((message.arrives_s ?? 0) > page.at) launch(page.traffic, message, 0, page.playback.speed);
  }
  page.isStale = true;
}

function onMoment(moment) {
  const speed = page.playback.speed;
  fold(page.state, moment);
  for (const message of moment.messages ?? []) {
    const wait = speed > 0 ? ((message.left_s - page.at) / speed) * 1000 : 0;
    launch(page.traffic, message, wait, speed);
  }
  const state = page.state;
  for (const machine of new Set((moment.instances ?? []).map((change) => change.machine))) {
    whenArrived(page.traffic, machine, () => drawInstances(page.map, state, machine));
  }
  page.isStale = true;
}

function onPlayback(playback) {
  page.playback = playback;
  tellPlayback(page.story, playback);
  tellConnection(...page.connection, playback);
}

function onConnection(state, text) {
  page.connection = [state, text];
  tellConnection(state, text, page.playback);
  const overlay = byId("overlay");
  overlay.hidden = page.hasScene && state !== "refused";
  setText(byId("overlay-text"), state === "lost" && !page.hasScene ? "The program does not answer yet. Trying again…" : `${text}${state === "connecting" ? "…" : ""}`);
}

function onHello({ may_control: mayControl }) {
  page.mayControl = mayControl;
  onConnection("open", "");
  setText(byId("overlay-text"), "Waiting for the scene…");
  allowAll();
}

function allowAll() {
  const isPlayed = page.state.scene.stage === "simulated" || Boolean(page.source?.tick);
  allow(page.story, { mayControl: page.mayControl && isPlayed, isSeekable: Boolean(page.source?.tick) });
  page.details.mayUnload = page.mayControl && !isPlayed;
}

function onProblem(text) {
  const problem = byId("problem");
  setText(problem, text);
  problem.hidden = false;
  clearTimeout(page.problemTimer);
  page.problemTimer = setTimeout(() => {
    problem.hidden = true;
  }, 6000);
}

/** Goes on with the clock of the scene, evenly, a little behind what is known. */
function moveClock(seconds) {
  const { is_running: isRunning, has_ended: hasEnded, speed } = page.playback;
  if (page.source.tick) {
    page.source.tick(seconds);
    page.at = page.source.at;
    return;
  }
  const target = page.state.at - (hasEnded ? 0 : BEHIND * Math.max(speed, 0.05));
  if (isRunning && !hasEnded) page.at += seconds * speed;
  const gap = target - page.at;
  // Far off: at once. Near: a part of the way, so that nothing jumps.
  if (Math.abs(gap) > Math.max(1.5 * speed, 0.5)) {
    page.at = Math.max(0, target);
    skipTo(page.traffic, page.at - Math.max(speed, 0.2));
  } else if (gap < 0 || !isRunning) page.at = Math.max(0, page.at + gap * Math.min(1, seconds * 4));
}

function onFrame(now) {
  const ms = Math.min(100, page.frame === null ? 0 : now - page.frame);
  page.frame = now;
  moveClock(ms / 1000);
  const { is_running: isRunning, has_ended: hasEnded } = page.playback;
  if (isRunning || hasEnded) advance(page.traffic, ms);
  if (now - page.drawn >= DRAW_PERIOD) {
    page.drawn = now;
    drawAll();
  }
  requestAnimationFrame(onFrame);
}

function drawAll() {
  byId("overlay").hidden = page.connection[0] !== "refused" && page.hasScene && page.state.scene.machines.length > 0;
  if (page.hasScene && page.state.scene.machines.length === 0) setText(byId("overlay-text"), "There is nothing to see: this scene has no machines.");
  tellTime(page.story, page.state, page.at);
  if (page.isStale) {
    drawState(page.map, page.state);
    tellNotes(page.story, page.state, openMachine);
    setText(byId("totals"), totals());
    if (page.details.machine !== null) drawDetails(page.details, page.state);
  }
  if (page.isStale || page.charts.some(({ pointer }) => pointer !== null)) {
    for (const chart of page.charts) drawChart(chart, page.state, page.at);
  }
  page.isStale = page.charts.some(({ pointer }) => pointer !== null);
}

function totals() {
  let modules = 0;
  for (const [index, here] of page.state.instances) {
    if (page.state.scene.machines[index].kind !== "host") modules += here.size;
  }
  return `${modules} module${modules === 1 ? "" : "s"} · ${page.state.flows.size} flow${page.state.flows.size === 1 ? "" : "s"}`;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isControl = event.target.closest?.("button, select, input, summary, a");
  if (event.key === "Escape") closeMachine();
  else if (event.key === " " && !isControl && page.story.mayControl) togglePlay(page.story);
  else if (event.key === "n" && !event.target.closest?.("input, select") && page.story.mayControl) page.source.control({ control: "next" });
  else return;
  event.preventDefault();
}

function start() {
  const handlers = { onConnection, onHello, onScene, onCatchUp, onMoment, onPlayback, onProblem };
  const record = recordedScene();
  page.map = createMap(byId("map"), openMachine);
  page.traffic = createTraffic(page.map);
  page.story = createStory((control) => page.source.control(control));
  page.details = createDetails({ onClose: closeMachine, onUnload: (instance) => page.source.control({ control: "unload", instance }) });
  page.source = record ? playRecord(record, handlers) : connectServer(handlers);
  document.addEventListener("keydown", onKey);
  let size = "";
  new ResizeObserver(() => {
    const { width, height } = byId("map").getBoundingClientRect();
    if (!page.hasScene || size === `${width}/${height}`) return;
    size = `${width}/${height}`;
    drawScene(page.map, page.state.scene);
    for (const machine of page.state.instances.keys()) drawInstances(page.map, page.state, machine);
    page.isStale = true;
  }).observe(byId("map"));
  page.source.start();
  requestAnimationFrame(onFrame);
}

start();
