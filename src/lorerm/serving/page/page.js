// The page's course: a question, a pick, and what the server then knows. Answers stay in memory; reloading forgets them.

import { beginning, drawCourse, drawRows, inPlainWords, lay } from "./charts.js";
import { listenToOwn, openOwn } from "./own.js";
import { call, hasKey, Refused, useKey } from "./server.js";

const STOP_BELOW = 0.05; // an answer that changes the ranking with a smaller probability is not asked for
const Z = 1.96;
const at = (id) => document.getElementById(id);
const percent = (share) => `${Math.round(100 * share)}%`;
const answersOf = (n) => `${n} ${n === 1 ? "pick" : "picks"}`;

let model = null;
let sets = []; // of candidates: {prompt, answers, pairs left, course of the expected accuracy, rewards}
let set = null;
let visit = null; // {user, picks, everybody, known}
let question = null;
let busy = 0; // pieces of work that are not done
let retry = null;

// Runs one piece of work after the other; where the server refuses, the same piece can be tried again.
let line = Promise.resolve();

function attempt(work) {
  busy += 1;
  document.body.setAttribute("aria-busy", "true");
  line = line.then(() => run(work));
}

async function run(work) {
  try {
    await work();
    if (at("error").contains(document.activeElement)) at("ask").focus();
    at("error").hidden = true;
    retry = null;
  } catch (error) {
    if (!(error instanceof Refused)) return reportError(error); // a mistake of the page's own
    retry = work;
    const asksForKey = error.status === 401;
    at("error-what").textContent = !asksForKey ? error.message : hasKey() ? "This key was refused" : "This server asks for a key";
    at("error-remedy").textContent = asksForKey ? "Whoever runs it can give you one." : error.remedy;
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

const userPath = (rest) => `v1/users/${visit.user}${rest}`;

function newSet({ prompt, answers }) {
  const pairs = answers.flatMap((_, first) => answers.map((_, second) => [first, second])).filter(([a, b]) => a < b);
  return { prompt, answers, pairs, course: [], everybody: null, rewards: null, order: null };
}

async function begin() {
  visit = { user: `visitor-${random()}`, picks: 0, everybody: null, known: null };
  sets = sets.map(newSet);
  set = sets[set ? sets.findIndex((one) => one.prompt === set.prompt) : 0];
  model ??= (await call("GET", "v1/models")).data[0];
  if (!model.encoder) {
    throw new Refused(0, { message: "this server takes embeddings alone", remedy: "The page needs one that reads texts." });
  }
  visit.everybody = await call("GET", userPath("?population=true"));
  visit.known = visit.everybody;
  const shape = model.rank === undefined ? "" : `, ${model.rank} directions`;
  at("model").textContent = `· ${model.id}${shape}`;
  await look();
  at("said").textContent = "";
}

async function rewards(user) {
  const asked = { query: set.prompt, documents: set.answers, ...(user && { user, population: true }) };
  const found = [];
  for (const { index, relevance_score: score } of (await call("POST", "v1/rerank", asked)).results) found[index] = score;
  return found;
}

// Asks the server what it now thinks of the candidates, and shows it.
async function look() {
  set.everybody ??= await rewards(null);
  // Without a pair that is left the question does not matter, the expected accuracy still does.
  const pairs = set.pairs.length ? set.pairs : null;
  const asked = { prompt: set.prompt, candidates: set.answers, pairs, stop_below: STOP_BELOW };
  const [now, next] = await Promise.all([rewards(visit.user), call("POST", userPath("/next-question"), asked)]);
  const before = set.order;
  set.rewards = now;
  set.order = now.map((_, index) => index).sort((a, b) => now[b] - now[a] || a - b);
  if (set.course.picks !== visit.picks) set.course.push(next.expected_accuracy);
  set.course.picks = visit.picks;
  question = pairs && next.question;
  show(before);
  return before;
}

function pick(first) {
  const [winner, loser] = first ? [question.first, question.second] : [question.second, question.first];
  const expected = first ? question.probability : 1 - question.probability;
  const card = at(first ? "left" : "right");
  card.classList.add("taken");
  const pair = { prompt: set.prompt, chosen: set.answers[winner], rejected: set.answers[loser] };
  // The same key whenever this pick is sent: however often the network fails, it counts once.
  const headers = { "Idempotency-Key": random() };
  let noted = false;
  attempt(async () => {
    if (!noted) {
      visit.known = await call("PUT", userPath("/answers"), { answers: [pair] }, { ...headers });
      visit.picks += 1;
      drop();
      noted = true;
    }
    const was = set.course.at(-1);
    const before = await look();
    at("said").textContent = tell(expected, before, was);
  });
}

function drop() {
  set.pairs = set.pairs.filter(([a, b]) => a !== Math.min(question.first, question.second) || b !== Math.max(question.first, question.second));
}

function tell(expected, before, was) {
  const chance = percent(expected);
  const surprise =
    expected >= 0.6 ? `It had expected that (${chance}).` : expected > 0.4 ? `It could not tell (${chance}).` : `A surprise: it gave that ${chance}.`;
  const climbed = set.order.map((index, place) => [before.indexOf(index) - place, index, place]).sort((a, b) => b[0] - a[0])[0];
  const moved = climbed[0] > 0 ? `“${beginning(set.answers[climbed[1]], 36)}” rises to place ${climbed[2] + 1}.` : "The ranking stays.";
  const change = Math.round(100 * set.course.at(-1)) - Math.round(100 * was);
  const accuracy = `Expected accuracy ${percent(set.course.at(-1))}${change ? ` (${change > 0 ? "up" : "down"} ${Math.abs(change)})` : ""}.`;
  return [`Pick ${visit.picks}.`, surprise, moved, accuracy, question ? "" : at("settled-what").textContent].join(" ");
}

// Showing

function show(before) {
  document.querySelector("main").hidden = false;
  at("picks").textContent = visit.picks;
  at("accuracy").textContent = percent(set.course.at(-1));
  at("first").textContent = beginning(set.answers[set.order[0]]);
  at("prompt").textContent = set.prompt;
  showQuestion();
  showRanking(before);
  showWeights();
  drawings();
  at("kept-what").textContent = visit.picks
    ? `Under a random name, ${visit.user}: ${answersOf(visit.picks)}, each as ${visit.known.weights.length} numbers, and the weights above. No text. It stays until you have it forgotten; after a reload the page no longer knows the name.`
    : "Nothing yet. After a pick: under a random name, a few numbers for each, and the weights above. No text.";
}

function showQuestion() {
  const [left, right] = [at("left"), at("right")];
  for (const card of [left, right]) card.classList.remove("taken");
  if (question) {
    for (const [card, index] of [[left, question.first], [right, question.second]]) {
      lay(set.answers[index], card.querySelector(".text"));
      card.disabled = false;
    }
  }
  const focused = document.activeElement;
  at("pair").hidden = at("skip").parentElement.hidden = !question;
  at("settled").hidden = Boolean(question);
  if (question) return;
  lay(set.answers[set.order[0]], at("settled-first"));
  const same = visit.everybody.standard_deviation.every((spread) => spread < 1e-9);
  at("settled-what").textContent = same ? "This model has one taste for everybody." : set.pairs.length ? "The ranking is settled." : "You have compared every pair.";
  at("settled-why").textContent = same
    ? "No pick could change its ranking."
    : set.pairs.length
      ? `No further pick is likely to change it: no pair that is left does so with a probability of ${percent(STOP_BELOW)} or more.`
      : "There is nothing left to ask about these answers.";
  at("settled-why").textContent += same || !visit.picks ? "" : " What it knows of you holds for other prompts, too.";
  if ([left, right, at("skip")].includes(focused)) at("next-prompt").focus();
}

function chances() {
  const scale = model.temperature ?? 1;
  const beats = (a, b) => 1 / (1 + Math.exp((b - a) / scale));
  const others = set.rewards.length - 1;
  return set.rewards.map((mine) => (set.rewards.reduce((sum, theirs) => sum + beats(mine, theirs), 0) - 0.5) / others);
}

function showRanking(before) {
  const list = at("list");
  if (list.set !== set) {
    list.replaceChildren(...set.answers.map(rankedItem));
    list.set = set;
    before = null;
  }
  const items = Object.fromEntries([...list.children].map((item) => [item.dataset.index, item]));
  const tops = new Map([...list.children].map((item) => [item, item.getBoundingClientRect().top]));
  const focused = document.activeElement;
  if (before?.join() !== set.order.join()) list.append(...set.order.map((index) => items[index]));
  if (list.contains(focused)) focused.focus();
  const chance = chances();
  for (const [place, index] of set.order.entries()) {
    const item = items[index];
    const climb = before ? before.indexOf(index) - place : 0;
    item.querySelector(".place").textContent = place + 1;
    item.querySelector(".bar span").style.width = percent(chance[index]);
    item.querySelector(".chance").textContent = percent(chance[index]);
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
  const { everybody, known } = visit;
  const rows = known.weights.map((weight, k) => [
    k + 1, fixed(weight), fixed(Z * known.standard_deviation[k]), fixed(everybody.weights[k]), fixed(Z * everybody.standard_deviation[k]),
  ]);
  at("weights-table").tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    for (const [place, text] of cells.entries()) {
      const cell = row.appendChild(document.createElement(place ? "td" : "th"));
      if (!place) cell.scope = "row";
      cell.textContent = text;
    }
    return row;
  }));
}

function drawings() {
  if (!set?.rewards) return;
  drawCourse(at("course"), set.course);
  const { everybody, known } = visit;
  const rows = known.weights.map((weight, k) => {
    const spread = everybody.standard_deviation[k];
    if (spread < 1e-9) return { left: `direction ${k + 1}`, value: 0 };
    const [value, half] = [(weight - everybody.weights[k]) / spread, (Z * known.standard_deviation[k]) / spread];
    return { left: `direction ${k + 1}`, value, low: value - half, high: value + half };
  });
  const limit = Math.max(2.6, ...rows.flatMap((row) => [Math.abs(row.low ?? 0), Math.abs(row.high ?? 0)]));
  drawRows(at("weights-chart"), rows, { limit, band: Z, ends: ["below the mean", "", "above"] });
  at("weights-chart").setAttribute("aria-label", `Weights on ${rows.length} directions, with intervals; their numbers are below.`);
  const words = set.answers.length > 2 ? inPlainWords(set.answers, set.everybody, set.rewards) : [];
  at("words").hidden = !words.length;
  drawRows(at("words-chart"), words, { limit: 1 });
  const said = words.map(({ left, right, value }) => `${value < 0 ? left : right} ${Math.abs(value).toFixed(1)}`).join(", ");
  at("words-chart").setAttribute("aria-label", `Correlations of your rewards: ${said}.`);
}

function listPrompts() {
  const options = sets.map(({ prompt }, place) => new Option(prompt, place));
  at("prompts").replaceChildren(...options, new Option("Your own …", "own"));
  at("prompts").value = sets.indexOf(set);
}

function choose(place) {
  at("prompts").value = place;
  attempt(async () => {
    set = sets[place];
    await look();
    at("said").textContent = "";
  });
}

// Another visit, after the server has forgotten this one.
function leave(said) {
  const { user } = visit;
  attempt(async () => {
    await call("DELETE", `v1/users/${user}`);
    await begin();
    at("said").textContent = said(user);
    at("ask").focus();
    at("ask").scrollIntoView({ block: "nearest" });
  });
}

function listen() {
  at("left").addEventListener("click", () => answer(true));
  at("right").addEventListener("click", () => answer(false));
  at("skip").addEventListener("click", skip);
  at("over").addEventListener("click", () => leave(() => "A new start: the server has forgotten your picks."));
  at("restart").addEventListener("click", () => leave(() => "A new start: the server has forgotten your picks."));
  at("forget").addEventListener("click", () => leave((user) => `Forgotten: the server holds nothing of ${user} any more.`));
  at("next-prompt").addEventListener("click", () => { choose((sets.indexOf(set) + 1) % sets.length); at("ask").focus(); });
  at("again").addEventListener("click", () => retry && attempt(retry));
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(at("key").value);
    at("key").value = "";
    attempt(retry);
  });
  at("prompts").addEventListener("change", ({ target }) => {
    if (target.value !== "own") return choose(Number(target.value));
    target.value = sets.indexOf(set);
    openOwn();
  });
  listenToOwn((own) => {
    sets.push(newSet(own));
    listPrompts();
    choose(sets.length - 1);
  });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.repeat || at("own").open) return;
    if (event.target.closest("input, select, textarea")) return;
    const first = { ArrowLeft: true, 1: true, ArrowRight: false, 2: false }[event.key];
    if (first === undefined) return;
    event.preventDefault();
    answer(first);
  });
  new ResizeObserver(drawings).observe(document.querySelector("main"));
}

function answer(first) {
  if (question && !busy && !retry) pick(first);
}

function skip() {
  if (!question || busy || retry) return;
  drop();
  attempt(async () => {
    await look();
    at("said").textContent = "Another pair.";
  });
}

listen();
attempt(async () => {
  sets = await call("GET", "page/examples.json");
  await begin();
  listPrompts();
});
