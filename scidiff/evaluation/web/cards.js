// A row as a card of the grid, as a line of the table, and opened with everything known of it.

const LETTERS = {card: 120, line: 60, open: 4000};

function picture(i, width, height) {
  if (doc.kind === 'graph') return drawGraph(i, width, height);
  if (doc.kind !== 'molecule' || !doc.drawn[i]) return null;
  return drawMolecule(moleculeOf(i), width, height, filters.hits?.get(i) ?? []);
}

// The text of a row, the places that broke a rule marked; sequences in colours.
function written(i, most) {
  if (doc.kind === 'sequence') return coloured(i, most, filters.hits?.get(i) ?? []);
  const text = doc.text[i] || '(nothing)', parts = [];
  let at = 0;
  for (const [from, to] of doc.marks[i] ?? []) {
    if (from >= most) break;
    parts.push(text.slice(at, from), el('mark', {}, text.slice(from, to)));
    at = to;
  }
  return el('code', {}, ...parts, text.slice(at, most), text.length > most ? '…' : null);
}

const why = i => valid(i) ? null : el('span', {class: 'why'}, '⚠ ', doc.full[i]);

// The two numbers a card tells: the column that rows are sorted by first.
function told(i) {
  const own = order.column?.number && order.column.name !== 'row' ? [order.column] : [];
  const others = shownColumns.filter(c => c.number && !own.includes(c) && !Number.isNaN(c.values[i]));
  return [...own, ...others].slice(0, 2).map(c => `${c.name.slice(0, 18)} ${short(c.values[i])}`).join(' · ');
}

function card(i) {
  const drawing = picture(i, 210, 150);
  return el('button', {type: 'button', class: `card${valid(i) ? '' : ' wrong'}`, 'data-row': i,
    'aria-label': `${rowName(i)}: ${valid(i) ? doc.text[i].slice(0, 80) : doc.full[i]}`, click: () => openRow(i)},
  drawing ?? el('div', {class: 'text'}, written(i, LETTERS.card)),
  el('span', {class: 'caption'}, several ? el('i', {class: `run run${doc.run[i]}`}) : null,
    `${count(doc.place[i])}${told(i) ? ` · ${told(i)}` : ''}`), why(i));
}

function heading(label, column) {
  const sorted = order.column === column;
  const state = sorted ? (order.direction > 0 ? 'ascending' : 'descending') : 'none';
  const next = () => {
    // numbers from the best (largest) down first, words from A
    if (order.column !== column) [order.column, order.direction] = [column, column.number && column.name !== 'row' ? -1 : 1];
    else if (order.direction === (column.number && column.name !== 'row' ? -1 : 1)) order.direction *= -1;
    else order.column = null;
    changed({order: true});
    document.querySelector(`th[data-column="${CSS.escape(column.name)}"] button`)?.focus();
  };
  return el('th', {scope: 'col', 'aria-sort': state, 'data-column': column.name},
    el('button', {type: 'button', click: next}, label, el('span', {class: 'arrow', 'aria-hidden': 'true'},
      sorted ? (order.direction > 0 ? ' ▴' : ' ▾') : '')));
}

function tableOf(rows) {
  const pictured = doc.kind !== 'sequence';
  const heads = [heading('row', columnNamed('row')), several ? heading('run', columnNamed('run')) : null,
    pictured ? el('th', {scope: 'col'}, '') : null, heading('as written', textColumn),
    ...shownColumns.map(c => heading(c.name, c)), doc.reasons.length ? heading('note', reasonColumn) : null];
  const cell = (c, i) => el('td', {class: c.number ? 'n' : 'w'}, c.number ? short(c.values[i]) : c.values[i]);
  const line = i => el('tr', {class: valid(i) ? null : 'wrong', 'data-row': i},
    el('td', {class: 'n'}, el('button', {type: 'button', class: 'open', click: () => openRow(i),
      'aria-label': `open ${rowName(i)}`}, count(doc.place[i]))),
    several ? el('td', {}, el('i', {class: `run run${doc.run[i]}`}), runName(i)) : null,
    pictured ? el('td', {class: 'p'}, picture(i, 150, 96)) : null,
    el('td', {class: 't'}, written(i, pictured ? LETTERS.card : LETTERS.line * 4)),
    ...shownColumns.map(c => cell(c, i)), doc.reasons.length ? el('td', {}, why(i)) : null);
  return el('div', {class: 'scroll'}, el('table', {class: 'rows'}, el('thead', {}, el('tr', {}, ...heads.filter(Boolean))),
    el('tbody', {}, ...[...rows].map(line))));
}

// ---- one row, opened

const dialog = el('dialog', {'aria-label': 'one row'});
let opened = null;

function openRow(i) {
  opened = i;
  const facts = shownColumns.filter(c => c.number ? !Number.isNaN(c.values[i]) : c.values[i] !== '');
  const place = view.indexOf(i);
  show(`${rowName(i)}${valid(i) ? '' : ', invalid'}`, [
    picture(i, 520, 340), doc.kind === 'sequence' ? written(i, LETTERS.open) : null,
    el('p', {}, el('label', {}, 'as written ', el('input', {readonly: true, value: doc.text[i], class: 'copy',
      focus: event => event.target.select()}))), valid(i) ? null : el('p', {}, written(i, LETTERS.open)), why(i),
    el('dl', {}, ...facts.flatMap(c => [el('dt', {}, c.name), el('dd', {}, c.number ? short(c.values[i]) : c.values[i])])),
  ], place);
}

// An object a campaign asked: the design it became, or what is known of it alone.
function openAsked(campaign, k) {
  const row = doc.text.findIndex((text, i) => text === campaign.text[k] && doc.run[i] === campaign.run);
  if (row >= 0) return openRow(row);
  opened = null;
  const packed = campaign.drawn[k];
  return show(`asked by ${doc.runs[campaign.run].name}`, [
    packed ? drawMolecule(unpackMolecule(packed), 520, 340) : null, el('p', {}, el('code', {}, campaign.text[k])),
    el('dl', {}, ...Object.entries(campaign.terms).flatMap(([name, values]) =>
      [el('dt', {}, name), el('dd', {}, short(values[k]))]))], -1);
}

function show(title, parts, place) {
  const go = step => openRow(view[(place + step + view.length) % view.length]);
  const walk = place < 0 ? [] : [el('button', {type: 'button', click: () => go(-1), 'aria-label': 'previous row'}, '‹'),
    el('span', {}, `${count(place + 1)} of ${count(view.length)}`),
    el('button', {type: 'button', click: () => go(1), 'aria-label': 'next row'}, '›')];
  dialog.replaceChildren(el('div', {class: 'head'}, el('h3', {tabindex: -1, autofocus: true}, title), ...walk,
    el('button', {type: 'button', click: () => dialog.close(), 'aria-label': 'close'}, '×')),
  ...parts.filter(Boolean));
  if (!dialog.open) dialog.showModal();
}

dialog.addEventListener('keydown', event => {
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (!step || opened === null || event.target.tagName === 'INPUT' || !view.length) return;
  const place = view.indexOf(opened);
  if (place >= 0) openRow(view[(place + step + view.length) % view.length]);
});
dialog.addEventListener('click', event => { if (event.target === dialog) dialog.close(); });
