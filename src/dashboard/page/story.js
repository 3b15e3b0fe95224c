// What is told: the steps, the caption, what happened, what came out; and the player's buttons.

import { byId, clock, el, set, setText } from "./dom.js";
import { MACHINE_NAMES, MESSAGE_NAMES, machineIcon, messageIcon } from "./shapes.js";

/** Lines of what happened that are drawn; the page keeps more. */
const NOTES_DRAWN_MAX = 200;
const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 5, 10];

/** `send(control)` for what is pressed. */
export function createStory(send) {
  const story = { send, mayControl: false, isSeekable: false, isRunning: false, lastNote: 0, stepButtons: [], filter: null };
  byId("play").addEventListener("click", () => togglePlay(story));
  byId("restart").addEventListener("click", () => send({ control: "restart" }));
  byId("next").addEventListener("click", () => send({ control: "next" }));
  const speed = byId("speed");
  speed.addEventListener("change", () => send({ control: "speed", speed: Number(speed.value) }));
  const seek = byId("seek");
  seek.addEventListener("input", () => send({ control: "seek", at: Number(seek.value) }));
  return story;
}

export function togglePlay(story) {
  story.send({ control: story.isRunning ? "pause" : "resume" });
}

/** Another scene: title, steps, legend. */
export function tellScene(story, scene) {
  story.lastNote = 0;
  document.title = scene.title ? `${scene.title} - NetServ` : "NetServ";
  setText(byId("title"), scene.title || "NetServ");
  setText(byId("summary"), scene.summary);
  byId("notes").replaceChildren();
  tellSteps(story, scene);
  tellLegend(scene);
  const isTimed = scene.duration_s !== null && scene.duration_s !== undefined;
  byId("progress-row").hidden = !isTimed;
  const seek = byId("seek");
  set(seek, { max: scene.duration_s ?? 1 });
  const ticks = isTimed ? scene.steps.map(({ at_s: at }) => {
    const tick = el("i");
    tick.style.left = `${(100 * at) / scene.duration_s}%`;
    return tick;
  }) : [];
  byId("ticks").replaceChildren(...ticks);
}

function tellSteps(story, scene) {
  story.stepButtons = scene.steps.map((step, index) =>
    el("button", { type: "button", class: "step", onclick: () => story.send({ control: "step", step: index }) },
      el("span", { class: "number" }, String(index + 1)),
      el("span", { class: "step-title" }, step.title),
      el("time", {}, clock(step.at_s)),
    ),
  );
  byId("steps").replaceChildren(...story.stepButtons.map((button) => el("li", {}, button)));
  byId("steps-card").hidden = scene.steps.length === 0;
  byId("caption").hidden = scene.steps.length === 0;
  byId("next").hidden = scene.steps.length === 0;
}

function tellLegend(scene) {
  const kinds = ["node", "router", "host", "nat"].filter((kind) => scene.machines.some((machine) => machine.kind === kind));
  const machines = kinds.map((kind) => el("li", {}, machineIcon(kind), MACHINE_NAMES[kind]));
  const messages = ["setup", "answer", "remove", "gist"].map((kind) => el("li", {}, messageIcon(kind), MESSAGE_NAMES[kind]));
  byId("legend").replaceChildren(...machines, ...messages);
}

/** What may be pressed. */
export function allow(story, { mayControl, isSeekable }) {
  story.mayControl = mayControl;
  story.isSeekable = isSeekable;
  byId("controls").hidden = !mayControl;
  byId("seek").hidden = !isSeekable;
  for (const button of story.stepButtons) button.disabled = !mayControl;
}

/** How it is played. */
export function tellPlayback(story, playback) {
  story.isRunning = playback.is_running && !playback.has_ended;
  const play = byId("play");
  set(play, { "aria-label": story.isRunning ? "Pause" : "Play", class: story.isRunning ? "round playing" : "round" });
  play.disabled = playback.has_ended && !story.isSeekable;
  byId("next").disabled = playback.has_ended && !story.isSeekable;
  tellSpeed(playback.speed);
  const results = playback.results ?? [];
  byId("results-card").hidden = results.length === 0;
  const rows = results.map(({ name, value }) => [el("dt", {}, name), el("dd", {}, value)]);
  byId("results").replaceChildren(...rows.flat());
}

function tellSpeed(speed) {
  const select = byId("speed");
  const known = SPEEDS.includes(speed) ? SPEEDS : [...SPEEDS, speed].sort((a, b) => a - b);
  if (select.options.length !== known.length || ![...select.options].some(({ value }) => Number(value) === speed)) {
    select.replaceChildren(...known.map((one) => el("option", { value: one }, one === 0 ? "max" : `${one}×`)));
  }
  if (document.activeElement !== select) select.value = String(speed);
}

/** The clock, the progress and the step. */
export function tellTime(story, state, at) {
  const { duration_s: duration, steps } = state.scene;
  setText(byId("clock"), duration ? `${clock(at)} of ${clock(duration)}` : clock(at));
  if (duration) {
    const share = Math.min(1, at / duration);
    byId("bar").style.transform = `scaleX(${share.toFixed(4)})`;
    set(byId("progress"), { "aria-valuenow": Math.round(share * 100) });
    if (document.activeElement !== byId("seek")) byId("seek").value = String(at);
  }
  const step = steps[state.step];
  story.stepButtons.forEach((button, index) => {
    button.classList.toggle("done", state.step !== null && index < state.step);
    if (index === state.step) set(button, { "aria-current": "step" });
    else button.removeAttribute("aria-current");
  });
  setText(byId("caption-kicker"), step ? `Step ${state.step + 1} of ${steps.length}` : "Before the first step");
  setText(byId("caption-title"), step?.title ?? "");
  setText(byId("caption-text"), step?.caption ?? "");
}

/** What happened since it was told last; the latest comes first. */
export function tellNotes(story, state, onOpen) {
  const list = byId("notes");
  const fresh = state.notes.filter(({ number }) => number > story.lastNote).slice(-NOTES_DRAWN_MAX);
  byId("notes-empty").hidden = state.notes.length > 0;
  if (fresh.length === 0) return;
  story.lastNote = fresh.at(-1).number;
  for (const note of fresh) {
    const name = state.scene.machines[note.machine]?.name;
    const where = name ? el("button", { type: "button", class: "where", onclick: () => onOpen(note.machine) }, name) : null;
    list.prepend(el("li", { class: note.level }, el("time", {}, clock(note.at_s)), el("span", {}, where, note.text)));
  }
  while (list.children.length > NOTES_DRAWN_MAX) list.lastChild.remove();
}

/** How it stands with the source: `state` is connecting, open, lost or refused. */
export function tellConnection(state, text, playback) {
  const pill = byId("connection");
  const live = playback?.has_ended ? ["ended", "Ended"] : playback && !playback.is_running ? ["paused", "Paused"] : ["live", "Live"];
  const [kind, words] = state === "open" ? live : [state, text];
  set(pill, { class: `pill ${kind}` });
  setText(pill, words);
}
