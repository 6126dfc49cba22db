// Molecules drawn from their places: lines, letters where an atom is no plain carbon, marks behind.

const GAP = 9, SPREAD = 5.2, LEAST = 150;  // in units of a drawing, of which a bond has 30

function unpackMolecule(packed) {
  const atoms = packed.a.split(' ').map((s, i) => ({
    symbol: s === '*a' ? '*' : capital(s), aromatic: s === '*a' || s[0] >= 'a',
    h: +packed.h[i], charge: packed.q?.[i] ?? 0, isotope: packed.i?.[i] ?? 0,
    x: packed.p[2 * i], y: packed.p[2 * i + 1],
  }));
  const bonds = [], near = atoms.map(() => []);
  for (let k = 0; k < packed.b.length; k += 3) {
    const [a, b, code] = packed.b.slice(k, k + 3);
    const bond = {a, b, order: code & 3, aromatic: !!(code & 4), wedge: (code >> 3) & 3,
      ring: !!(code & 32)};
    bonds.push(bond);
    near[a].push({to: b, bond});
    near[b].push({to: a, bond});
  }
  return {atoms, bonds, near, broken: packed.m ?? []};
}

const unpacked = new Map();
// The molecule of a row as a graph, kept for the next search; null where there is none.
function moleculeOf(row) {
  if (!doc.drawn[row]) return null;
  if (!unpacked.has(row)) unpacked.set(row, unpackMolecule(doc.drawn[row]));
  return unpacked.get(row);
}

// `hits` are atoms to be marked, as numbers.
function drawMolecule(mol, width, height, hits = []) {
  const xs = mol.atoms.map(a => a.x), ys = mol.atoms.map(a => a.y);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  const scale = Math.max((right - left + 44) / width, (bottom - top + 34) / height, LEAST / width);
  const [w, h] = [width * scale, height * scale];
  const box = [(left + right - w) / 2, (top + bottom - h) / 2, w, h].map(v => v.toFixed(1));
  const paths = {lines: [], wedge: [], dashed: []};
  for (const bond of mol.bonds) bondLines(mol, bond, paths);
  const part = (name, lines) => lines.length ? svg('path', {class: name, d: lines.join('')}) : null;
  return svg('svg', {viewBox: box.join(' '), width, height, class: 'mol', 'aria-hidden': 'true'},
    ...marks(mol, hits), part('bond', paths.lines), part('wedge', paths.wedge),
    part('bond dashed', paths.dashed), ...mol.atoms.map((a, i) => letters(mol, a, i)));
}

function marks(mol, hits) {
  const inside = new Set(hits);
  const lines = mol.bonds.filter(b => inside.has(b.a) && inside.has(b.b)).map(b => {
    const [a, c] = [mol.atoms[b.a], mol.atoms[b.b]];
    return `M${a.x} ${a.y}L${c.x} ${c.y}`;
  });
  const dots = hits.map(i => `M${mol.atoms[i].x} ${mol.atoms[i].y}h0`);
  return [
    hits.length ? svg('path', {class: 'hit', d: [...lines, ...dots].join('')}) : null,
    ...mol.broken.filter(i => mol.atoms[i]).map(i => svg('circle',
      {class: 'broken', cx: mol.atoms[i].x, cy: mol.atoms[i].y, r: 12})),
  ];
}

const lettered = (mol, i) => {
  const a = mol.atoms[i];
  return a.symbol !== 'C' || a.charge !== 0 || a.isotope !== 0 || mol.near[i].length === 0;
};

function bondLines(mol, bond, paths) {
  const [a, b] = [mol.atoms[bond.a], mol.atoms[bond.b]];
  const long = Math.hypot(b.x - a.x, b.y - a.y) || 1;
  const [ux, uy] = [(b.x - a.x) / long, (b.y - a.y) / long];
  const from = lettered(mol, bond.a) ? GAP : 0, to = lettered(mol, bond.b) ? GAP : 0;
  const line = (off, trim, list = paths.lines) => {
    const [s, e] = [from + trim, long - to - trim];
    list.push(`M${fix(a.x + ux * s - uy * off)} ${fix(a.y + uy * s + ux * off)}`
      + `L${fix(a.x + ux * e - uy * off)} ${fix(a.y + uy * e + ux * off)}`);
  };
  if (bond.wedge) return wedge(a, b, ux, uy, from, long - to, bond.wedge, paths);
  if (bond.order === 0) {  // aromatic without an assignment, or no plain bond
    if (bond.aromatic) line(0, 0);
    return line(bond.aromatic ? SPREAD * side(mol, bond) : 0, bond.aromatic ? 3 : 0, paths.dashed);
  }
  if (bond.order === 2 && !bond.ring && middle(mol, bond)) {
    line(SPREAD / 2, 0);
    return line(-SPREAD / 2, 0);
  }
  line(0, 0);
  if (bond.order === 2) line(SPREAD * side(mol, bond), from || to ? 1 : 4);
  if (bond.order === 3) [SPREAD, -SPREAD].forEach(off => line(off, 2));
  return undefined;
}

const fix = v => v.toFixed(1);
const middle = (mol, b) => mol.near[b.a].length === 1 || mol.near[b.b].length === 1;

function wedge(a, b, ux, uy, from, to, kind, paths) {
  const at = (s, off) => `${fix(a.x + ux * s - uy * off)} ${fix(a.y + uy * s + ux * off)}`;
  if (kind === 1) {
    paths.wedge.push(`M${at(from, 0)}L${at(to, 3.4)}L${at(to, -3.4)}Z`);
    return;
  }
  for (let k = 0; k < 7; k += 1) {
    const s = from + (to - from) * (k + 0.5) / 7, half = 0.4 + 3.4 * (k + 0.5) / 7;
    paths.lines.push(`M${at(s, half)}L${at(s, -half)}`);
  }
}

// On which side the second line of a double bond lies: +1 or -1, inside its ring, else where more
// neighbours are.
function side(mol, bond) {
  const [a, b] = [mol.atoms[bond.a], mol.atoms[bond.b]];
  const across = p => (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x);
  const ring = bond.ring ? ringOf(mol, bond) : null;
  const others = ring ?? [...mol.near[bond.a], ...mol.near[bond.b]].map(n => n.to);
  const sum = others.map(i => Math.sign(Math.round(across(mol.atoms[i])))).reduce((x, y) => x + y, 0);
  return sum >= 0 ? 1 : -1;
}

// The atoms of a smallest ring that a bond is in.
function ringOf(mol, bond) {
  const before = new Map([[bond.a, -1]]);
  const queue = [bond.a];
  for (let k = 0; k < queue.length; k += 1) {
    for (const n of mol.near[queue[k]]) {
      if (n.bond === bond || before.has(n.to)) continue;
      before.set(n.to, queue[k]);
      queue.push(n.to);
    }
  }
  const ring = [];
  for (let i = bond.b; i !== undefined && i !== -1; i = before.get(i)) ring.push(i);
  return ring;
}

// Symbol, hydrogens on the free side, charge. Hydrogens stand above or below where neighbours are on
// both sides.
function letters(mol, atom, i) {
  if (!lettered(mol, i)) return null;
  const ways = mol.near[i].map(n => [mol.atoms[n.to].x - atom.x, mol.atoms[n.to].y - atom.y]);
  const pull = ways.reduce((sum, way) => [sum[0] + way[0], sum[1] + way[1]], [0, 0]);
  const between = ways.some(w => w[0] > 6) && ways.some(w => w[0] < -6) && atom.h > 0;
  const left = !between && atom.h > 0 && pull[0] > 1;
  const hydrogens = atom.h ? ['H', ...(atom.h > 1 ? small(String(atom.h)) : [])] : [];
  const charge = atom.charge ? small((Math.abs(atom.charge) > 1 ? Math.abs(atom.charge) : '')
    + (atom.charge > 0 ? '+' : '−'), true) : [];
  const core = [...(atom.isotope ? small(String(atom.isotope), true) : []), atom.symbol];
  const half = atom.symbol.length > 1 ? 7.4 : 4.7;
  const text = (parts, x, y, anchor) => svg('text', {x: fix(x), y: fix(y), 'text-anchor': anchor,
    class: `atom e${atom.symbol === '*' ? 'any' : atom.symbol}`}, ...parts);
  const [x, y] = [atom.x + (left ? half : -half), atom.y + 4.6];
  if (!between) return text([...(left ? [...hydrogens, ...core] : [...core, ...hydrogens]), ...charge], x, y, left ? 'end' : 'start');
  return svg('g', {}, text([...core, ...charge], x, y, 'start'), text(hydrogens, x, y + (pull[1] > 0 ? -11.5 : 11.5), 'start'));
}

// A raised or lowered part, and the way back to the line.
const small = (text, up) => [svg('tspan', {class: 'small', dy: up ? -5 : 3.4}, text),
  svg('tspan', {dy: up ? 5 : -3.4}, '\u200b')];
