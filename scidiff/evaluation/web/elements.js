// Elements without innerHTML: every word of the data becomes a text node, so none of it can run.

const doc = JSON.parse(document.getElementById('data').textContent);

function el(tag, facts = {}, ...inside) {
  return filled(document.createElement(tag), facts, inside);
}

function svg(tag, facts = {}, ...inside) {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', tag), facts, inside);
}

function filled(node, facts, inside) {
  for (const [name, value] of Object.entries(facts)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...inside.filter(part => part !== null && part !== undefined));
  return node;
}

// A number as people read it: four digits, a dash for none.
function short(value) {
  if (value === null || Number.isNaN(value)) return '–';
  if (Number.isInteger(value)) return value.toLocaleString('en');
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(+value.toPrecision(4));
}

const count = n => n.toLocaleString('en');

const rowTotal = doc.text.length;
const valid = i => doc.why[i] === 0;
const runName = i => doc.runs[doc.run[i]].name;
const several = doc.runs.length > 1;

// What a row is called on the page: its place in the input it came from.
const rowName = i => `row ${count(doc.place[i])}${several ? ` of ${runName(i)}` : ''}`;
