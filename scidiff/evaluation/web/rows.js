// Which rows are shown, and in which order.

const own = [
  {name: 'row', number: true, values: doc.place, hidden: true},
  {name: 'run', number: false, values: doc.run.map(r => doc.runs[r].name), hidden: true},
];
const columns = [...own, ...doc.columns].map(column => ({
  ...column, values: column.number ? Float64Array.from(column.values, v => v ?? NaN) : column.values,
}));
const columnNamed = name => columns.find(c => c.name === name);
const shownColumns = columns.filter(c => !c.hidden);
const numeric = columns.filter(c => c.number && c.name !== 'row');

const filters = {words: '', run: -1, state: 'all', reason: 0, ranges: new Map(), search: '', hits: null};
const order = {column: null, direction: 1};  // no column: as they came
let view = Int32Array.from({length: rowTotal}, (_, i) => i);

const haystacks = [];
const haystack = i => haystacks[i] ??= [doc.text[i], valid(i) ? '' : doc.full[i],
  ...shownColumns.filter(c => !c.number).map(c => c.values[i])].join('\n').toLowerCase();

function keeps(i) {
  const {words, run, state, reason, ranges, hits} = filters;
  if (run >= 0 && doc.run[i] !== run) return false;
  if (state !== 'all' && valid(i) !== (state === 'valid')) return false;
  if (reason && doc.why[i] !== reason) return false;
  if (hits && !hits.has(i)) return false;
  for (const [column, [low, high]] of ranges) {
    const value = column.values[i];
    if (!(value >= low && value <= high)) return false;
  }
  return !words || haystack(i).includes(words);
}

const ranks = new Map();
const collator = new Intl.Collator('en', {numeric: true});
// What a column is sorted by: its numbers, or the rank of its words, found once.
function sortKeys(column) {
  if (column.number) return column.values;
  if (!ranks.has(column)) {
    const sorted = [...new Set(column.values)].sort(collator.compare);
    const rank = new Map(sorted.map((word, k) => [word, word === '' ? NaN : k]));
    ranks.set(column, Float64Array.from(column.values, word => rank.get(word)));
  }
  return ranks.get(column);
}

const textColumn = {name: 'text', number: false, values: doc.text};
const reasonColumn = {name: 'note', number: false, values: doc.why.map((_, i) => valid(i) ? '' : doc.full[i])};

// Filter and sort; rows without a value come last in both directions, equal ones as they came.
function refresh() {
  const kept = [];
  for (let i = 0; i < rowTotal; i += 1) if (keeps(i)) kept.push(i);
  view = Int32Array.from(kept);
  if (order.column) {
    const keys = sortKeys(order.column), d = order.direction;
    view.sort((a, b) => {
      const [x, y] = [keys[a], keys[b]];
      if (x === y) return a - b;
      if (Number.isNaN(x)) return Number.isNaN(y) ? a - b : 1;
      return Number.isNaN(y) ? -1 : d * (x - y);
    });
  }
}

// Search all valid rows; what is found is kept with where it was found. "" ends a search.
function search(text) {
  filters.search = text;
  filters.hits = null;
  if (!text.trim()) return;
  const hits = new Map();
  if (doc.kind === 'molecule') {
    const query = readQuery(text);
    for (let i = 0; i < rowTotal; i += 1) {
      const place = valid(i) && doc.drawn[i] ? findQuery(query, moleculeOf(i)) : null;
      if (place) hits.set(i, place);
    }
  } else {
    const motif = readMotif(text);
    for (let i = 0; i < rowTotal; i += 1) {
      const places = valid(i) ? findMotif(motif, doc.text[i]) : [];
      if (places.length) hits.set(i, places);
    }
  }
  filters.hits = hits;
}

// The rows in view as CSV, quoted where needed.
function asCsv() {
  const quote = v => /[",\n\r]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v;
  const names = ['run', 'row', doc.kind === 'molecule' ? 'smiles' : doc.kind, 'valid', 'reason',
    ...shownColumns.map(c => c.name)];
  const lines = [...view].map(i => [runName(i), doc.place[i], doc.text[i], valid(i),
    valid(i) ? '' : doc.full[i], ...shownColumns.map(c => Number.isNaN(c.values[i]) ? '' : c.values[i])]);
  return [names, ...lines].map(line => line.map(v => quote(String(v))).join(',')).join('\n') + '\n';
}
