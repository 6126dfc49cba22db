// The page: filters, plots and rows, redrawn when something changes.

const SIZES = [24, 48, 120, 480];
const layoutNow = {grid: doc.kind !== 'sequence', page: 0, size: 24};
const OPEN_PANELS = 6;

const status = el('p', {class: 'status', role: 'status', 'aria-live': 'polite'});
const found = el('p', {class: 'found', role: 'status', 'aria-live': 'polite'});
const holder = el('div', {id: 'rows'});
const pager = el('nav', {class: 'pager', 'aria-label': 'pages'});
const scatterHolder = el('div', {class: 'scatterholder'});
const panels = new Map();  // column -> {draw, low, high}

// Redraw what depends on the rows in view: rows at once, plots when these are there; `order`: only
// their order changed.
function changed({order: onlyOrder = false, page = false} = {}) {
  if (!page) {
    refresh();
    layoutNow.page = 0;
  }
  drawRows();
  if (!onlyOrder && !page) drawPlotsSoon();
}

let plotsWait = 0;
function drawPlotsSoon() {
  clearTimeout(plotsWait);
  plotsWait = setTimeout(drawPlots, 30);
}

function drawPlots() {
  for (const panel of panels.values()) panel.draw();
  drawScatter();
}

function drawScatter() {
  if (axes.x && axes.y) scatterHolder.replaceChildren(legend(), rowScatter(openRow));
}

function drawRows() {
  const {page, size} = layoutNow;
  const rows = view.slice(page * size, (page + 1) * size);
  holder.replaceChildren(!rows.length ? el('p', {class: 'hint'}, 'No row passes the filters.')
    : layoutNow.grid ? el('div', {class: 'grid'}, ...[...rows].map(card)) : tableOf(rows));
  const good = view.reduce((n, i) => n + valid(i), 0);
  status.textContent = `${count(view.length)} of ${count(rowTotal)} rows, ${count(good)} valid`
    + (order.column ? `, by ${order.column.name} ${order.direction > 0 ? 'up' : 'down'}` : '');
  const last = Math.max(0, Math.ceil(view.length / size) - 1);
  const go = (to, label, text) => el('button', {type: 'button', 'aria-label': label, disabled: to < 0 || to > last || to === page,
    click: () => { layoutNow.page = to; changed({page: true}); }}, text);
  pager.replaceChildren(go(0, 'first page', '«'), go(page - 1, 'previous page', '‹'),
    el('span', {}, view.length ? `${count(page * size + 1)}–${count(Math.min(view.length, (page + 1) * size))}` : '0'),
    go(page + 1, 'next page', '›'), go(last, 'last page', '»'));
}

// ---- controls

function choice(label, options, now, onPick) {
  const box = el('select', {change: event => onPick(event.target.value)},
    ...options.map(([value, text]) => el('option', {value, selected: String(value) === String(now)}, text)));
  return el('label', {}, label, box);
}

const later = (wait, act) => {
  let timer = 0;
  return event => { clearTimeout(timer); timer = setTimeout(() => act(event), wait); };
};

function searchBox() {
  if (doc.kind === 'graph') return null;
  const molecules = doc.kind === 'molecule';
  const run = event => {
    try {
      search(event.target.value);
      event.target.removeAttribute('aria-invalid');
      found.textContent = !filters.hits ? '' : hitsText(event.target.value, molecules);
    } catch (error) {
      if (!(error instanceof QueryError)) throw error;
      event.target.setAttribute('aria-invalid', 'true');
      found.textContent = error.message;
    }
    changed();
  };
  return el('label', {class: 'wide'}, molecules ? 'substructure' : 'motif', el('input', {type: 'search', id: 'search',
    spellcheck: 'false', autocomplete: 'off', placeholder: molecules ? 'SMARTS: c1ccccc1C(=O)N, [NX3;H2], …'
      : doc.letters === 'peptide' ? 'KK, K[KR]X[ILV], …' : 'TATAWAW, CANNTG, …', input: later(120, run)}));
}

function hitsText(text, molecules) {
  const n = filters.hits.size;
  const hint = molecules && !n && /[A-Z]\d/.test(text) ? '; aromatic atoms are written small: c1ccccc1' : '';
  return `${count(n)} valid rows hold it${hint}`;
}

function filterBar() {
  const words = later(120, event => { filters.words = event.target.value.trim().toLowerCase(); changed(); });
  const pick = name => value => { filters[name] = name === 'state' ? value : +value; changed(); };
  const invalid = doc.why.some(Boolean);
  return el('form', {class: 'filters', submit: event => event.preventDefault()},
    el('label', {class: 'wide'}, 'words', el('input', {type: 'search', id: 'words', placeholder: 'text, names, reasons', input: words})),
    searchBox(),
    several ? choice('run', [[-1, 'all'], ...doc.runs.map((r, i) => [i, r.name])], -1, pick('run')) : null,
    invalid ? choice('rows', [['all', 'all'], ['valid', 'valid'], ['invalid', 'invalid']], 'all', pick('state')) : null,
    invalid ? choice('reason', [[0, 'any'], ...doc.reasons.map((r, i) => [i + 1, r.slice(0, 60)])], 0, pick('reason')) : null,
    el('button', {type: 'button', id: 'clear', click: clearAll}, 'show all'), found);
}

function clearAll() {
  Object.assign(filters, {words: '', run: -1, state: 'all', reason: 0, search: '', hits: null});
  filters.ranges.clear();
  for (const box of document.querySelectorAll('.filters input, .panel input')) box.value = '';
  for (const box of document.querySelectorAll('.filters select')) box.selectedIndex = 0;
  document.getElementById('search')?.removeAttribute('aria-invalid');
  found.textContent = '';
  changed();
}

function viewBar() {
  const toggle = grid => el('button', {type: 'button', 'aria-pressed': String(layoutNow.grid === grid), click: event => {
    layoutNow.grid = grid;
    for (const b of event.target.parentNode.children) b.setAttribute('aria-pressed', String(b === event.target));
    drawRows();
  }}, grid ? 'grid' : 'table');
  const named = [['', 'as they came'], ...[columnNamed('row'), ...shownColumns].map(c => [c.name, c.name])];
  return el('div', {class: 'bar'}, el('span', {class: 'toggle', role: 'group', 'aria-label': 'how rows are shown'}, toggle(true), toggle(false)),
    choice('sort by', named, '', name => {
      order.column = columnNamed(name) ?? null;
      order.direction = order.column?.number && name !== 'row' ? -1 : 1;
      changed({order: true});
    }),
    el('button', {type: 'button', 'aria-label': 'reverse the order', click: () => { order.direction *= -1; changed({order: true}); }}, '⇅'),
    choice('on a page', SIZES.map(n => [n, n]), layoutNow.size, n => { layoutNow.size = +n; changed({order: true}); }),
    el('button', {type: 'button', click: saveCsv}, 'save these rows as CSV'), pager);
}

function saveCsv() {
  const url = URL.createObjectURL(new Blob([asCsv()], {type: 'text/csv'}));
  const link = el('a', {href: url, download: 'rows.csv'});
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// ---- panels of numeric columns

function panel(column) {
  const bins = binsOf(column, doc.behind?.columns[column.name]);
  if (!bins || column.values.every((v, _, all) => v === all[0])) return null;  // nothing to choose
  const limit = name => el('input', {type: 'number', step: 'any', 'aria-label': `${name} ${column.name}`, placeholder: name,
    input: later(150, () => range(column))});
  const [low, high] = [limit('least'), limit('most')];
  const pick = (from, to) => {
    low.value = Number.isFinite(from) ? +from.toPrecision(6) : '';
    high.value = Number.isFinite(to) ? +to.toPrecision(6) : '';
    range(column);
  };
  const {draw, node} = histogram(column, bins, pick);
  panels.set(column, {draw, low, high});
  return el('figure', {class: 'panel', 'data-column': column.name}, el('figcaption', {}, column.name), node,
    el('div', {class: 'range'}, low, '–', high));
}

function range(column) {
  const {low, high} = panels.get(column);
  const read = (box, none) => box.value === '' || Number.isNaN(+box.value) ? none : +box.value;
  if (low.value === '' && high.value === '') filters.ranges.delete(column);
  else filters.ranges.set(column, [read(low, -Infinity), read(high, Infinity)]);
  changed();
}

function plotsPart() {
  const made = shownColumns.filter(c => c.number).map(panel).filter(Boolean);
  const more = made.slice(OPEN_PANELS);
  return el('div', {class: 'panels'}, ...made.slice(0, OPEN_PANELS),
    more.length ? el('details', {}, el('summary', {}, `${more.length} more columns`), el('div', {class: 'panels'}, ...more)) : null);
}

function scatterPart() {
  const plain = numeric.filter(c => !c.hidden);
  [axes.x, axes.y] = hasMap() ? [columnNamed('map 1'), columnNamed('map 2')] : [plain[0], plain[1] ?? plain[0]];
  axes.colour = several ? null : columnNamed('score') ?? null;
  if (!axes.x) return null;
  const names = numeric.map(c => [c.name, c.name]);
  const set = axis => name => { axes[axis] = columnNamed(name) ?? null; drawScatter(); };
  return el('figure', {class: 'space'}, el('figcaption', {}, hasMap() ? 'Map: neighbours are similar' : 'Two columns'),
    el('div', {class: 'bar'}, choice('across', names, axes.x.name, set('x')), choice('up', names, axes.y.name, set('y')),
      choice('colour', [['', 'run'], ...numeric.filter(c => !c.name.startsWith('map ')).map(c => [c.name, c.name])],
        axes.colour?.name ?? '', set('colour'))),
    scatterHolder, el('p', {class: 'hint'}, doc.about));
}

function campaignsPart() {
  if (!doc.campaigns.length) return null;
  return el('section', {id: 'campaigns'}, el('h2', {}, 'Campaigns'), el('div', {class: 'panels'},
    el('figure', {}, el('figcaption', {}, 'Best score (line) and mean of the ten best (dashed), by objects asked'), curves(doc.campaigns)),
    ...doc.campaigns.map(c => [c, paretoPlot(c, k => openAsked(c, k))]).filter(([, plot]) => plot).map(([c, plot]) =>
      el('figure', {}, el('figcaption', {}, `${doc.runs[c.run].name}: what was asked (${count(c.asked)}), and what nothing else beats`), plot))));
}

// ---- light and dark

function themeButton() {
  const dark = () => matchMedia('(prefers-color-scheme: dark)').matches;
  return el('button', {type: 'button', class: 'theme', 'aria-label': 'light or dark', click: () => {
    const style = document.documentElement.style;
    style.colorScheme = (style.colorScheme || (dark() ? 'dark' : 'light')) === 'dark' ? 'light' : 'dark';
  }}, '◐');
}

document.querySelector('header').append(themeButton());
const campaignsMade = campaignsPart();
document.getElementById('explore').replaceChildren(...[campaignsMade,
  el('h2', {}, 'Rows'), filterBar(), el('div', {class: 'overview'}, plotsPart(), scatterPart()),
  viewBar(), status, holder, dialog].filter(Boolean));
changed();
drawScatter();

// For who wants to ask the page itself: what is in view, and the search.
window.scidiff = {doc, rows: () => Array.from(view), search: text => { search(text); changed(); },
  holds: (text, row) => findQuery(readQuery(text), moleculeOf(row)), drawPlots, ready: true};
