"use strict";

const STATE_MILLISECONDS = 2000;
const root = document.body.dataset.root;
const byId = (id) => document.getElementById(id);

/** The path with each {name} replaced by its field's value, encoded as one segment. */
function address(form) {
  let path = root + form.dataset.path;
  const query = new URLSearchParams();
  for (const field of form.querySelectorAll("[data-kind]")) {
    if (field.dataset.kind === "path") {
      path = path.replace(`{${field.name}}`, segment(field));
    } else if (field.value !== "") {
      query.append(field.name, field.value);
    }
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** A field named "…=value" takes id=value: its last equals sign stays one. */
function segment(field) {
  const at = field.name.includes("=") ? field.value.lastIndexOf("=") : -1;
  if (at < 0) return encodeURIComponent(field.value);
  return `${encodeURIComponent(field.value.slice(0, at))}=${field.value.slice(at + 1)}`;
}

/** What to send: a chosen file as multipart, so that its type goes with it; else the text. */
function request(form) {
  const options = { method: form.dataset.method, headers: { Accept: "text/plain" } };
  const file = form.querySelector("input[type=file]")?.files[0];
  const text = form.querySelector("textarea");
  if (file) {
    options.body = new FormData();
    options.body.append("lines", file);
  } else if (text) {
    options.headers["Content-Type"] = "text/plain; charset=utf-8";
    options.body = text.value;
  }
  return options;
}

async function submit(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const path = address(form);
  byId("request").textContent = `${form.dataset.method} ${path}`;
  byId("outcome").textContent = "…";
  byId("result").textContent = "";
  const started = performance.now();
  try {
    const reply = await fetch(path, request(form));
    const body = await reply.text();
    const took = (performance.now() - started).toFixed(0);
    byId("outcome").textContent = `${reply.status} ${reply.statusText}, ${took} ms`;
    byId("outcome").className = reply.ok ? "good" : "bad";
    byId("result").textContent = body;
  } catch (error) {
    byId("outcome").textContent = `no reply: ${error.message}`;
    byId("outcome").className = "bad";
  }
}

function age(seconds) {
  if (seconds === null) return "unknown";
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  if (seconds < 7200) return `${(seconds / 60).toFixed(0)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

async function showState() {
  const ready = byId("ready");
  try {
    const reply = await fetch(`${root}/status`, { headers: { Accept: "application/json" } });
    const state = await reply.json();
    ready.textContent = state.ready ? "ready" : state.not_ready_because;
    ready.className = state.ready ? "good" : "bad";
    byId("generation").textContent = state.generation ?? "none";
    byId("age").textContent = age(state.model_age_seconds);
  } catch (error) {
    ready.textContent = `no reply: ${error.message}`;
    ready.className = "bad";
  }
  setTimeout(showState, STATE_MILLISECONDS);
}

for (const form of document.forms) form.addEventListener("submit", submit);
showState();
