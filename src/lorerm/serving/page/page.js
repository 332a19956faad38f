// The web page: it shows a pair of responses, sends the visitor's pick to the server, and shows the new ranking and
// weights. A reload of the page loses its state.

import { beginning, correlations, drawCourse, drawRows, lay } from "./charts.js";
import { listenToOwn, openOwn } from "./own.js";
import { call, hasKey, ServerError, useKey } from "./server.js";

const STOP_BELOW = 0.05; // a pair is only shown if it changes the ranking with at least this probability
const Z = 1.96; // a 95% interval is the mean ± Z standard deviations
const at = (id) => document.getElementById(id);
const percent = (share) => `${Math.round(100 * share)}%`;
const countPicks = (n) => `${n} ${n === 1 ? "pick" : "picks"}`;

let model = null;
let tasks = []; // one for each prompt; see `newTask`
let task = null;
let session = null; // {user, picks, population, posterior}
let question = null;
let busy = 0; // number of actions that wait or run
let retry = null;

// Actions run one after the other. If one fails because of the server, the visitor can try it again.
let queue = Promise.resolve();

function attempt(action) {
  busy += 1;
  document.body.setAttribute("aria-busy", "true");
  queue = queue.then(() => run(action));
}

async function run(action) {
  try {
    await action();
    if (at("error").contains(document.activeElement)) at("ask").focus();
    at("error").hidden = true;
    retry = null;
  } catch (error) {
    if (!(error instanceof ServerError)) return reportError(error); // a bug of the page
    retry = action;
    const asksForKey = error.status === 401;
    at("error-what").textContent = !asksForKey ? error.message : hasKey() ? "The API key is unknown" : "This server needs an API key";
    at("error-remedy").textContent = asksForKey ? "Ask the server's operator for a key." : error.remedy;
    at("key-form").hidden = !asksForKey;
    at("again").hidden = asksForKey;
    at("error").hidden = false;
    at(asksForKey ? "key" : "again").focus();
  } finally {
    busy -= 1;
    if (!busy) document.body.removeAttribute("aria-busy");
  }
}

function random() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const userPath = (rest) => `v1/users/${session.user}${rest}`;

// `pairs` are the pairs that were not shown yet, `course` is the expected accuracy after each pick, and `order` lists the
// responses' indices, best first.
function newTask({ prompt, responses }) {
  const pairs = responses.flatMap((_, first) => responses.map((_, second) => [first, second])).filter(([a, b]) => a < b);
  return { prompt, responses, pairs, course: [], populationRewards: null, rewards: null, order: null };
}

async function begin() {
  session = { user: `visitor-${random()}`, picks: 0, population: null, posterior: null };
  tasks = tasks.map(newTask);
  task = tasks[task ? tasks.findIndex((one) => one.prompt === task.prompt) : 0];
  model ??= (await call("GET", "v1/models")).data[0];
  if (!model.encoder) {
    throw new ServerError(0, { message: "this server accepts embeddings only", remedy: "This page needs a server with an encoder for texts." });
  }
  session.population = await call("GET", userPath("?population=true"));
  session.posterior = session.population;
  at("model").textContent = `· model ${model.id}`;
  await update();
  at("said").textContent = "";
}

async function rewards(user) {
  const asked = { query: task.prompt, documents: task.responses, ...(user && { user, population: true }) };
  const found = [];
  for (const { index, relevance_score: score } of (await call("POST", "v1/rerank", asked)).results) found[index] = score;
  return found;
}

// Gets the rewards and the next question from the server, and shows them. Returns the previous ranking.
async function update() {
  task.populationRewards ??= await rewards(null);
  // If no pair is left, only the expected accuracy in the server's response is used.
  const pairs = task.pairs.length ? task.pairs : null;
  const asked = { prompt: task.prompt, candidates: task.responses, pairs, stop_below: STOP_BELOW };
  const [now, next] = await Promise.all([rewards(session.user), call("POST", userPath("/next-question"), asked)]);
  const before = task.order;
  task.rewards = now;
  task.order = now.map((_, index) => index).sort((a, b) => now[b] - now[a] || a - b);
  if (task.course.picks !== session.picks) task.course.push(next.expected_accuracy);
  task.course.picks = session.picks;
  question = pairs && next.question;
  show(before);
  return before;
}

function pick(first) {
  const [winner, loser] = first ? [question.first, question.second] : [question.second, question.first];
  const expected = first ? question.probability : 1 - question.probability;
  const card = at(first ? "left" : "right");
  card.classList.add("taken");
  const pair = { prompt: task.prompt, chosen: task.responses[winner], rejected: task.responses[loser] };
  // The same key for every attempt to send this pick, so that it counts once.
  const headers = { "Idempotency-Key": random() };
  let noted = false;
  attempt(async () => {
    if (!noted) {
      session.posterior = await call("PUT", userPath("/answers"), { answers: [pair] }, { ...headers });
      session.picks += 1;
      drop();
      noted = true;
    }
    const was = task.course.at(-1);
    const before = await update();
    at("said").textContent = describe(expected, before, was);
  });
}

function drop() {
  task.pairs = task.pairs.filter(([a, b]) => a !== Math.min(question.first, question.second) || b !== Math.max(question.first, question.second));
}

function describe(expected, before, was) {
  const prediction =
    expected >= 0.6
      ? `The model had predicted this pick (${percent(expected)}).`
      : expected > 0.4
        ? `The model was undecided (${percent(expected)} for your pick).`
        : `The model had predicted the other response (${percent(1 - expected)}).`;
  const climbed = task.order.map((index, position) => [before.indexOf(index) - position, index, position]).sort((a, b) => b[0] - a[0])[0];
  const moved = climbed[0] > 0 ? `“${beginning(task.responses[climbed[1]], 36)}” moves up to position ${climbed[2] + 1}.` : "The ranking stays the same.";
  const change = Math.round(100 * task.course.at(-1)) - Math.round(100 * was);
  const accuracy = `Expected accuracy: ${percent(task.course.at(-1))}${change ? ` (${change > 0 ? "+" : "−"}${Math.abs(change)} ${Math.abs(change) === 1 ? "point" : "points"})` : ""}.`;
  return [`Pick ${session.picks}.`, prediction, moved, accuracy, question ? "" : at("settled-what").textContent].join(" ");
}

// What the page shows

function show(before) {
  document.querySelector("main").hidden = false;
  at("picks").textContent = session.picks;
  at("accuracy").textContent = percent(task.course.at(-1));
  at("first").textContent = beginning(task.responses[task.order[0]]);
  at("prompt").textContent = task.prompt;
  showQuestion();
  showRanking(before);
  showWeights();
  drawings();
  at("kept-what").textContent = session.picks
    ? `${countPicks(session.picks)} under the random name ${session.user}: for each, ${session.posterior.weights.length} numbers computed from the two responses, the time and a checksum, but no text. The server stores them until you delete them here. Delete them before you close or reload this page, because the page then no longer knows the name.`
    : "Nothing yet. For each pick the server will store a few numbers computed from the two responses, under a random name, but no text.";
}

function showQuestion() {
  const [left, right] = [at("left"), at("right")];
  for (const card of [left, right]) card.classList.remove("taken");
  if (question) {
    for (const [card, index] of [[left, question.first], [right, question.second]]) {
      lay(task.responses[index], card.querySelector(".text"));
      card.disabled = false;
    }
  }
  const focused = document.activeElement;
  at("pair").hidden = at("skip").parentElement.hidden = !question;
  at("settled").hidden = Boolean(question);
  if (question) return;
  lay(task.responses[task.order[0]], at("settled-first"));
  const sameForAll = session.population.standard_deviation.every((spread) => spread < 1e-9);
  at("settled-what").textContent = sameForAll ? "This model gives all users the same ranking." : task.pairs.length ? "The ranking is settled." : "You have compared every pair.";
  at("settled-why").textContent = sameForAll
    ? "Picks do not change it."
    : task.pairs.length
      ? `There are no further questions about this prompt: for each remaining pair, the probability that your pick changes the ranking is below ${percent(STOP_BELOW)}.`
      : "There is no other pair of these responses.";
  at("settled-why").textContent += sameForAll || !session.picks ? "" : " What the model has learned about you also applies to other prompts.";
  if ([left, right, at("skip")].includes(focused)) at("next-prompt").focus();
}

// For each response, the mean probability that the visitor prefers it to another one. The sum includes the response
// itself, which adds 0.5.
function probabilities() {
  const scale = model.temperature ?? 1;
  const beats = (a, b) => 1 / (1 + Math.exp((b - a) / scale));
  const others = task.rewards.length - 1;
  return task.rewards.map((mine) => (task.rewards.reduce((sum, theirs) => sum + beats(mine, theirs), 0) - 0.5) / others);
}

function showRanking(before) {
  const list = at("list");
  if (list.task !== task) {
    list.replaceChildren(...task.responses.map(rankedItem));
    list.task = task;
    before = null;
  }
  const items = Object.fromEntries([...list.children].map((item) => [item.dataset.index, item]));
  const tops = new Map([...list.children].map((item) => [item, item.getBoundingClientRect().top]));
  const focused = document.activeElement;
  if (before?.join() !== task.order.join()) list.append(...task.order.map((index) => items[index]));
  if (list.contains(focused)) focused.focus();
  const probability = probabilities();
  for (const [position, index] of task.order.entries()) {
    const item = items[index];
    const climb = before ? before.indexOf(index) - position : 0;
    item.querySelector(".place").textContent = position + 1;
    item.querySelector(".bar span").style.width = percent(probability[index]);
    item.querySelector(".chance").textContent = percent(probability[index]);
    const moved = item.querySelector(".moved");
    moved.textContent = climb ? `${climb > 0 ? "▲" : "▼"} ${Math.abs(climb)}` : "";
    moved.classList.toggle("up", climb > 0);
    moved.setAttribute("aria-label", climb ? `${climb > 0 ? "up" : "down"} ${Math.abs(climb)}` : "");
    const way = tops.get(item) - item.getBoundingClientRect().top;
    if (before && way && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
      item.animate([{ transform: `translateY(${way}px)` }, { transform: "none" }], { duration: 420, easing: "cubic-bezier(.2,.7,.2,1)" });
    }
  }
}

function rankedItem(text, index) {
  const item = document.createElement("li");
  item.dataset.index = index;
  const details = item.appendChild(document.createElement("details"));
  const summary = details.appendChild(document.createElement("summary"));
  for (const name of ["place", "begins", "moved", "bar", "chance"]) {
    const made = document.createElement("span");
    made.className = name;
    summary.append(made);
  }
  summary.querySelector(".begins").textContent = beginning(text);
  summary.querySelector(".bar").append(document.createElement("span"));
  summary.querySelector(".moved").setAttribute("role", "img");
  const whole = document.createElement("div");
  whole.className = "text";
  lay(text, whole);
  details.append(whole);
  return item;
}

function showWeights() {
  const fixed = (number) => number.toFixed(2).replace("-", "−");
  const { population, posterior } = session;
  const rows = posterior.weights.map((weight, k) => [
    k + 1, fixed(weight), fixed(Z * posterior.standard_deviation[k]), fixed(population.weights[k]), fixed(Z * population.standard_deviation[k]),
  ]);
  at("weights-table").tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    for (const [position, text] of cells.entries()) {
      const cell = row.appendChild(document.createElement(position ? "td" : "th"));
      if (!position) cell.scope = "row";
      cell.textContent = text;
    }
    return row;
  }));
}

function drawings() {
  if (!task?.rewards) return;
  drawCourse(at("course"), task.course);
  const { population, posterior } = session;
  const rows = posterior.weights.map((weight, k) => {
    const spread = population.standard_deviation[k];
    if (spread < 1e-9) return { left: `direction ${k + 1}`, value: 0 };
    const [value, half] = [(weight - population.weights[k]) / spread, (Z * posterior.standard_deviation[k]) / spread];
    return { left: `direction ${k + 1}`, value, low: value - half, high: value + half };
  });
  const limit = Math.max(2.6, ...rows.flatMap((row) => [Math.abs(row.low ?? 0), Math.abs(row.high ?? 0)]));
  drawRows(at("weights-chart"), rows, { limit, band: Z, ends: ["lower", "average user", "higher"] });
  at("weights-chart").setAttribute("aria-label", `Your weights on ${rows.length} reward directions with 95% intervals. The numbers are in the table below.`);
  const words = task.responses.length > 2 ? correlations(task.responses, task.populationRewards, task.rewards) : [];
  at("words").hidden = !words.length;
  drawRows(at("words-chart"), words, { limit: 1 });
  const values = words.map(({ left, right, value }) => `${value < 0 ? left : right} ${Math.abs(value).toFixed(1)}`).join(", ");
  at("words-chart").setAttribute("aria-label", `Correlation of properties of the responses with your rewards: ${values}.`);
}

function listPrompts() {
  const options = tasks.map(({ prompt }, position) => new Option(prompt, position));
  at("prompts").replaceChildren(...options, new Option("Your own prompt …", "own"));
  at("prompts").value = tasks.indexOf(task);
}

function choose(position) {
  at("prompts").value = position;
  attempt(async () => {
    task = tasks[position];
    await update();
    at("said").textContent = "";
  });
}

// Deletes the user from the server, and starts again with a new user.
function startOver() {
  const { user } = session;
  attempt(async () => {
    await call("DELETE", `v1/users/${user}`);
    await begin();
    at("said").textContent = `Deleted: the server stores nothing about ${user} any more.`;
    at("ask").focus();
    at("ask").scrollIntoView({ block: "nearest" });
  });
}

function listen() {
  at("left").addEventListener("click", () => takePick(true));
  at("right").addEventListener("click", () => takePick(false));
  at("skip").addEventListener("click", skip);
  at("restart").addEventListener("click", startOver);
  at("forget").addEventListener("click", startOver);
  at("next-prompt").addEventListener("click", () => { choose((tasks.indexOf(task) + 1) % tasks.length); at("ask").focus(); });
  at("again").addEventListener("click", () => retry && attempt(retry));
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(at("key").value);
    at("key").value = "";
    attempt(retry);
  });
  at("prompts").addEventListener("change", ({ target }) => {
    if (target.value !== "own") return choose(Number(target.value));
    target.value = tasks.indexOf(task);
    openOwn();
  });
  listenToOwn((own) => {
    tasks.push(newTask(own));
    listPrompts();
    choose(tasks.length - 1);
  });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.repeat || at("own").open) return;
    if (event.target.closest("input, select, textarea")) return;
    const first = { ArrowLeft: true, 1: true, ArrowRight: false, 2: false }[event.key];
    if (first === undefined) return;
    event.preventDefault();
    takePick(first);
  });
  new ResizeObserver(drawings).observe(document.querySelector("main"));
}

function takePick(first) {
  if (question && !busy && !retry) pick(first);
}

function skip() {
  if (!question || busy || retry) return;
  drop();
  attempt(async () => {
    await update();
    at("said").textContent = "Skipped. Here is another pair.";
  });
}

listen();
attempt(async () => {
  tasks = await call("GET", "page/examples.json");
  await begin();
  listPrompts();
});
