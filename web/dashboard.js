// dashboard.js — what the coordinator says at /v1/..., drawn anew every two seconds. It only asks; it changes nothing.
// All text goes through textContent, so that no name of a node or reason of an operation becomes markup.
"use strict";

const POLL_MS = 2000;
const SLOTS = 16384;
const FINDINGS_SHOWN = 20;
const COLOURS = ["#3b7dd8", "#2a9d6f", "#c9822b", "#8a5fc4", "#c4527f", "#4aa3b5", "#7d8f2e", "#a0674b"];

const at = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en-US");

function make(tag, text, className) {
  const element = document.createElement(tag);
  element.textContent = text === null || text === undefined ? "" : text;
  element.className = className || "";
  return element;
}

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return (unit === 0 ? value : value.toFixed(1)) + " " + units[unit];
}

function duration(ms) {
  const s = Math.round(ms / 1000);
  return s < 60 ? s + " s" : s < 3600 ? Math.floor(s / 60) + " min " + (s % 60) + " s" : (s / 3600).toFixed(1) + " h";
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok) {
    throw new Error(body.error ? body.error.text : "status " + answer.status);
  }
  return body;
}

function show(id, isShown) {
  at(id).hidden = !isShown;
}

function drawFacts(status) {
  const facts = [
    ["leader", status.leader ? status.leader.name : "nobody"],
    ["settled", status.settled ? "yes" : "no", status.settled ? "good" : "warn"],
    ["nodes in reach", status.nodes_reachable + " of " + status.nodes, status.nodes_reachable < status.nodes ? "bad" : ""],
    ["primaries, replicas", status.primaries + ", " + status.replicas],
    ["slots covered", number(status.slots_assigned), status.slots_assigned < SLOTS ? "bad" : ""],
    ["slots half moved", number(status.slots_open), status.slots_open > 0 ? "warn" : ""],
    ["keys", number(status.keys)],
    ["memory", bytes(status.used_memory_bytes)],
    ["commands a second", number(status.ops_per_s)],
    ["agents", status.agents_connected + " of " + status.agents, status.agents_connected < status.agents ? "bad" : ""],
  ];
  at("facts").replaceChildren(...facts.map(([name, value, className]) => {
    const box = document.createElement("div");
    box.append(make("dt", name), make("dd", value, className));
    return box;
  }));
}

function drawOperation(operation) {
  const box = make("div", "", "operation");
  const progress = operation.progress;
  const level = operation.state === "held" || operation.state === "failed" ? "bad" : "";
  box.append(make("p", operation.id + "  " + operation.kind + ": " + operation.state, level));
  if (operation.reason) {
    box.append(make("p", operation.reason, level));
  }
  if (operation.step) {
    box.append(make("p", operation.step));
  }
  const bar = document.createElement("progress");
  bar.max = 100;
  bar.value = progress.percent;
  box.append(bar);
  let line = number(progress.slots_done) + " of " + number(progress.slots_total) + " slots, " +
    number(progress.keys_done) + " keys, " + bytes(progress.bytes_done);
  if (!operation.is_final) {
    line += ", " + number(Math.round(progress.keys_per_s)) + " keys a second";
    line += progress.eta_ms === null ? "" : ", about " + duration(progress.eta_ms) + " left";
  }
  box.append(make("p", line + ", " + duration(progress.elapsed_ms), "soft"));
  return box;
}

function drawOperations(operations) {
  const open = operations.filter((operation) => !operation.is_final);
  const shown = open.concat(operations.filter((operation) => operation.is_final).slice(0, 3));
  show("running", shown.length > 0);
  at("operations").replaceChildren(...shown.map(drawOperation));
}

function drawSlots(slots, colourOf) {
  show("map", true);
  at("slots").replaceChildren(...slots.ranges.map((range) => {
    const piece = document.createElement("i");
    piece.style.flexGrow = range.last - range.first + 1;
    piece.style.background = range.node === null ? "var(--bad)" : colourOf(range.node);
    piece.title = range.first + "-" + range.last + "  " + (range.node_address || "no owner, or the views differ");
    return piece;
  }));
  at("open").textContent = slots.open.length === 0 ? "" :
    "half moved: " + [...new Set(slots.open.map((open) => open.slot))].slice(0, 12).join(", ") +
    (slots.open.length > 12 ? ", …" : "");
}

function drawNode(node, colourOf) {
  const row = document.createElement("tr");
  const mark = document.createElement("td");
  if (node.slot_count > 0) {
    mark.append(make("span", "", "mark"));
    mark.firstChild.style.background = colourOf(node.id);
  }
  const state = make("td", node.state, node.state === "ok" ? "good" : node.state === "spare" ? "" : "bad");
  state.title = node.reason || "";
  row.append(mark, make("td", node.address),
    make("td", node.role + (node.primary_address ? " of " + node.primary_address : "")), state,
    make("td", number(node.slot_count), "n"), make("td", number(node.keys), "n"),
    make("td", bytes(node.used_memory_bytes), "n"), make("td", number(node.ops_per_s), "n"),
    make("td", node.server + " " + node.version));
  return row;
}

// Primaries in the order of their slots, each with its replicas after it; then those without slots.
function inOrder(nodes) {
  const firstSlot = new Map(nodes.map((node) => [node.id, node.slot_count > 0 ? parseInt(node.slots, 10) : SLOTS]));
  const place = (node) => node.primary === null ? firstSlot.get(node.id) : (firstSlot.get(node.primary) ?? SLOTS);
  return [...nodes].sort((a, b) => place(a) - place(b) || (a.primary === null ? 0 : 1) - (b.primary === null ? 0 : 1) ||
    a.address.localeCompare(b.address));
}

function drawNodes(nodes, colourOf) {
  show("members", true);
  at("nodes").replaceChildren(...inOrder(nodes).map((node) => drawNode(node, colourOf)));
}

function drawFindings(doctor) {
  show("health", doctor.findings.length > 0);
  at("findings").replaceChildren(...doctor.findings.slice(0, FINDINGS_SHOWN).map((finding) => {
    const level = finding.severity === "error" ? "bad" : finding.severity === "warning" ? "warn" : "";
    const item = make("li", finding.text, level);
    item.append(make("span", finding.remedy));
    return item;
  }));
}

// The same colour for a node as long as it is there, whoever comes and goes.
const coloured = new Map();
function colourOf(id) {
  if (!coloured.has(id)) {
    coloured.set(id, COLOURS[coloured.size % COLOURS.length]);
  }
  return coloured.get(id);
}

function drawStandby(status) {
  for (const id of ["running", "map", "members", "health"]) {
    show(id, false);
  }
  at("facts").replaceChildren();
  at("lost").replaceChildren();
  const url = status.leader ? status.leader.api_url : "";
  at("lost").append(make("span", status.name + " does not lead. "));
  if (/^https?:/.test(url)) {
    const link = make("a", status.leader.name + " does: " + url);
    link.href = url;
    at("lost").append(link);
  } else {
    at("lost").append(make("span", status.leader ? status.leader.name + " does." : "No leader is known."));
  }
  show("lost", true);
}

async function look() {
  const status = await ask("v1/status");
  at("cluster").textContent = status.cluster;
  at("version").textContent = "drover " + status.version + " at " + status.name;
  at("why").textContent = status.why;
  document.title = "drover " + status.cluster;
  if (!status.leading) {
    drawStandby(status);
    return;
  }
  const [nodes, slots, operations, doctor] =
    await Promise.all([ask("v1/nodes"), ask("v1/slots"), ask("v1/operations?limit=20"), ask("v1/doctor")]);
  show("lost", false);
  drawFacts(status);
  drawOperations(operations.operations);
  drawSlots(slots, colourOf);
  drawNodes(nodes.nodes, colourOf);
  drawFindings(doctor);
}

async function watch() {
  try {
    await look();
  } catch (error) {
    at("lost").textContent = "no answer: " + error.message + ". What is shown may be old.";
    show("lost", true);
  }
  setTimeout(watch, POLL_MS);
}

watch();
