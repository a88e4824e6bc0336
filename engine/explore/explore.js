"use strict";
const token = location.hash.slice(1) || sessionStorage.getItem("dejavu-token") || "";
sessionStorage.setItem("dejavu-token", token);
history.replaceState(null, "", location.pathname);

let start = null; // FEN, or null for the usual start
let line = []; // [UCI, SAN] of every move
let here = 0; // how many of them have been played
let answer = null; // what is known of the position
let isAnswered = false; // whether that is the position asked about last: only then may a move be made in it
let selected = ""; // the square of the piece that is to move
let asked = 0; // number of the last question: an answer to an older one comes too late

async function ask(name, question) {
  let reply;
  try {
    reply = await fetch(`api/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Dejavu-Token": token },
      body: JSON.stringify(question),
    });
  } catch {
    throw new Error("Dejavu does not answer: is `dejavu explore` still running?");
  }
  const found = await reply.json();
  if (found.error) throw new Error(found.error);
  return found;
}

const question = () => ({ fen: start, moves: line.slice(0, here).map(([uci]) => uci) });

function complain(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

function targets() {
  return answer ? answer.legal.filter(([uci]) => selected && uci.startsWith(selected)) : [];
}

function draw() {
  const shown = here < line.length ? { ...answer, played: line[here][0] } : answer;
  const board = drawBoard(answer.fen, selected ? [] : arrowsOf(shown));
  const squares = svg("g", {});
  if (selected) {
    const [x, y] = corner(selected);
    svg("rect", { x, y, width: 45, height: 45, class: "from" }, squares);
    for (const [uci] of targets()) {
      const [left, top] = corner(uci.slice(2, 4));
      svg("circle", { cx: left + 22.5, cy: top + 22.5, r: 8, class: "to" }, squares);
    }
  }
  board.insertBefore(squares, board.querySelector("use"));
  byId("board").replaceChildren(board);
}

function tell() {
  const about = byId("about");
  about.replaceChildren();
  html("h2", about, `${answer.white ? "White" : "Black"} to move`);
  if (answer.over) html("p", about, `The game is over: ${answer.over}.`, "mark");
  tellMemory(about, answer);
  about.querySelectorAll("tr").forEach((row, number) => {
    if (!number) return; // the heading
    const [uci, san] = answer.moves[number - 1];
    const button = html("button", null, san);
    button.onclick = () => play(uci);
    row.firstChild.replaceChildren(button);
  });
  tellSimilar(answer.similar);
  const options = answer.legal.map(([uci, san]) => {
    const option = html("option", null, san);
    option.value = uci;
    return option;
  });
  byId("move").replaceChildren(...options);
  const first = here < line.length ? line[here][0] : answer.moves && answer.moves[0][0];
  if (first) byId("move").value = first;
  for (const name of ["move", "teach", "forget"]) byId(name).disabled = !options.length;
}

function tellLine() {
  byId("line").replaceChildren();
  line.forEach(([, san], index) => {
    const link = html("a", byId("line"), index && san.includes("...") ? san.split("...")[1] : san);
    link.href = "#";
    link.onclick = (event) => { event.preventDefault(); go(index + 1); };
    if (index + 1 === here) { link.className = "here"; link.setAttribute("aria-current", "true"); }
    byId("line").append(" ");
  });
  if (!line.length) html("span", byId("line"), "Move a piece on the board, or paste a position or a game.", "quiet");
}

async function look() {
  const number = ++asked;
  isAnswered = false;
  selected = "";
  byId("promotion").hidden = true;
  byId("evaluation").textContent = "";
  byId("board").classList.add("waiting");
  for (const name of ["move", "teach", "forget"]) byId(name).disabled = true;
  tellLine();
  try {
    const found = await ask("position", question());
    if (number !== asked) return;
    answer = found;
    isAnswered = true;
    complain("");
    byId("fen").textContent = answer.whole;
    draw();
    tell();
    if (answer.over) return;
    const searched = await ask("search", question());
    if (number !== asked || !searched.score) return;
    byId("evaluation").textContent = `A short search: ${searched.score} (White's side). Best play: ${searched.line}`;
  } catch (error) {
    if (number === asked) complain(error.message);
  } finally {
    if (number === asked) byId("board").classList.remove("waiting");
  }
}

function go(ply) {
  here = Math.max(0, Math.min(line.length, ply));
  return look();
}

function play(uci) {
  if (!isAnswered) return;
  const move = answer.legal.find(([legal]) => legal === uci);
  if (!move) return;
  if (here < line.length && line[here][0] === uci) { go(here + 1); return; }
  line = [...line.slice(0, here), move];
  go(here + 1);
}

function choose(moves) {
  if (moves.length < 2) { if (moves.length) play(moves[0][0]); return; }
  const box = byId("promotion");
  box.replaceChildren(...moves.map(([uci, san]) => {
    const button = html("button", null, san);
    button.onclick = () => play(uci);
    return button;
  }));
  box.hidden = false;
  box.firstChild.focus();
}

function squareAt(event) {
  const box = byId("board").firstChild.getBoundingClientRect();
  const x = Math.floor(8 * (event.clientX - box.left) / box.width);
  const y = Math.floor(8 * (event.clientY - box.top) / box.height);
  if (x < 0 || x > 7 || y < 0 || y > 7) return "";
  return "abcdefgh"[flipped ? 7 - x : x] + (flipped ? y + 1 : 8 - y);
}

// A click on a piece and one on its square, or a drag, make a move.
function reach(square) {
  if (!isAnswered) return false;
  const moves = targets().filter(([uci]) => uci.slice(2, 4) === square);
  if (!moves.length) return false;
  selected = "";
  draw();
  choose(moves);
  return true;
}

byId("board").onpointerdown = (event) => {
  if (!isAnswered || !byId("board").firstChild) return;
  const square = squareAt(event);
  if (selected && reach(square)) return;
  const before = selected;
  selected = square !== before && answer.legal.some(([uci]) => uci.startsWith(square)) ? square : "";
  byId("promotion").hidden = true;
  draw();
};
window.onpointerup = (event) => {
  if (selected && byId("board").firstChild) {
    const square = squareAt(event);
    if (square && square !== selected) reach(square);
  }
};

async function change(name, more) {
  try {
    const found = await ask(name, { ...question(), ...more });
    byId("said").textContent = found.said.join(" ");
    await look();
  } catch (error) {
    complain(error.message);
  }
}

async function paste() {
  try {
    const found = await ask("paste", { text: byId("text").value });
    start = found.fen;
    line = found.moves;
    byId("said").textContent = "";
    byId("board").scrollIntoView({ block: "nearest" }); // on a phone the text is far below
    await go(0);
  } catch (error) {
    complain(error.message);
  }
}

byId("first").onclick = () => go(0);
byId("back").onclick = () => go(here - 1);
byId("forward").onclick = () => go(here + 1);
byId("last").onclick = () => go(line.length);
byId("flip").onclick = () => { flipped = !flipped; if (answer) { draw(); tellSimilar(answer.similar); } };
byId("new").onclick = () => { start = null; line = []; go(0); };
byId("teach").onclick = () => change("teach", { move: byId("move").value });
byId("forget").onclick = () => change("forget", {});
byId("paste").onclick = paste;
document.onkeydown = (event) => {
  if (["TEXTAREA", "SELECT"].includes(event.target.tagName) || event.altKey || event.ctrlKey || event.metaKey) return;
  const ply = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: line.length }[event.key];
  if (ply === undefined) return;
  event.preventDefault();
  go(ply);
};
look();
