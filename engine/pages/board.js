"use strict";
// What pages with boards have in common: the board, its arrows, what the memory says, similar positions. Whatever comes
// from games is put in as text, never as markup.
const byId = (id) => document.getElementById(id);
let flipped = false;

function svg(name, attributes, parent) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (parent) parent.append(element);
  return element;
}

function html(name, parent, text = "", className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) element.className = className;
  if (parent) parent.append(element);
  return element;
}

function corner(square) {
  const file = square.charCodeAt(0) - 97, rank = Number(square[1]) - 1;
  return flipped ? [45 * (7 - file), 45 * rank] : [45 * file, 45 * (7 - rank)];
}

// Of arrows on one another all are seen: those drawn later are thinner.
const widths = { without: 11, with: 7, played: 3.5 };

function arrow(board, move, className, share) {
  const [ax, ay] = corner(move.slice(0, 2)).map((x) => x + 22.5);
  const [bx, by] = corner(move.slice(2, 4)).map((x) => x + 22.5);
  const length = Math.hypot(bx - ax, by - ay) || 1, ux = (bx - ax) / length, uy = (by - ay) / length;
  const x = bx - 16 * ux, y = by - 16 * uy;
  const mark = svg("g", { class: className, opacity: 0.35 + 0.6 * share }, board);
  svg("path", { d: `M${ax} ${ay}L${x} ${y}`, "stroke-width": widths[className] }, mark);
  svg("path", { d: `M${bx} ${by}L${x - 10 * uy} ${y + 10 * ux}L${x + 10 * uy} ${y - 10 * ux}Z` }, mark);
}

function drawBoard(fen, arrows) {
  const board = svg("svg", { viewBox: "0 0 360 360", class: "board" });
  svg("rect", { width: 360, height: 360, class: "light" }, board);
  let dark = "";
  for (let i = 0; i < 64; i++) if ((i + (i >> 3)) % 2) dark += `M${45 * (i % 8)} ${45 * (i >> 3)}h45v45h-45z`;
  svg("path", { d: dark, class: "dark" }, board);
  const kinds = { p: "pawn", n: "knight", b: "bishop", r: "rook", q: "queen", k: "king" };
  let file = 0, rank = 8;
  for (const letter of fen) {
    if (letter === "/") { rank--; file = 0; } else if (letter >= "1" && letter <= "8") file += Number(letter);
    else {
      const [x, y] = corner("abcdefgh"[file++] + rank), kind = kinds[letter.toLowerCase()];
      const side = letter === letter.toLowerCase() ? "black" : "white";
      svg("use", { href: `#${side}-${kind}`, transform: `translate(${x} ${y})` }, board);
    }
  }
  for (const [move, className, share] of arrows) arrow(board, move, className, share);
  return board;
}

function arrowsOf(moment) {
  const found = [];
  const moves = moment.moves || [];
  const best = (column) => moves.slice().sort((a, b) => b[column] - a[column])[0];
  if (moves.length) {
    found.push([best(3)[0], "without", best(3)[3] / 100]);
    found.push([best(2)[0], "with", best(2)[2] / 100]);
  }
  if (moment.played) found.push([moment.played, "played", 0.5]);
  return found;
}

function tellMemory(about, moment) {
  if (moment.remembered) {
    for (const text of moment.remembered) html("p", about, text, "known");
    if (!moment.remembered.length) html("p", about, "Nothing that is near is remembered.", "quiet");
  }
  if (moment.moves) {
    const table = html("table", about);
    const head = html("tr", table);
    html("th", head, "the network's move");
    html("th", head, "with memory", "with");
    html("th", head, "without", "without");
    for (const [, san, withMemory, without] of moment.moves) {
      const row = html("tr", table);
      html("td", row, san);
      html("td", row, `${withMemory} %`, "with");
      html("td", row, `${without} %`, "without");
    }
  }
}

function tellSimilar(items) {
  const cards = byId("similar");
  cards.replaceChildren();
  for (const item of items) {
    const card = html("article", cards);
    card.append(drawBoard(item.fen, item.move ? [[item.move, "played", 0.6]] : []));
    html("b", card, item.line || "nothing was played");
    html("p", card, item.score);
    html("p", card, `${item.game}; difference ${item.difference}`, "quiet");
  }
}
