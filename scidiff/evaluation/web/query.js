// Substructures: a part of SMARTS, read as RDKit reads it, and an exact search for it.
//
// Atoms: B C N O P S F Cl Br I b c n o p s * A a; in brackets any element, #n, D X H r and R, charges,
// with ! & , ; between them. Bonds: - = # : ~ @ with the same signs; none is single or aromatic.
// Branches, ring closures, parts apart by a dot. All else is refused by name.

const ELEMENTS = ('H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn '
  + 'Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm '
  + 'Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu '
  + 'Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og').split(' ');
const AROMATIC = ['se', 'as', 'te', 'si', 'b', 'c', 'n', 'o', 'p', 's'];
const REFUSED = {'$': '$(…)', '@': 'chirality (@)', '^': 'hybridisation (^)', ':': 'atom maps (:1)',
  h: 'implicit hydrogens (h)', v: 'valence (v)', x: 'ring bonds (x)', z: 'neighbours (z)',
  Z: 'neighbours (Z)', d: 'non-hydrogen degree (d)', '{': 'ranges {…}', '/': 'double bond geometry (/)',
  '\\': 'double bond geometry (\\)', '>': 'reactions (>)', '(': 'grouped parts'};

class QueryError extends Error {}

const symbolIs = s => (mol, i) => mol.atoms[i].symbol === s && !mol.atoms[i].aromatic;
const aromaticIs = s => (mol, i) => mol.atoms[i].symbol === s && mol.atoms[i].aromatic;
const anything = () => true;
const capital = s => s[0].toUpperCase() + s.slice(1);

class Reader {
  constructor(text) { this.text = text; this.at = 0; }
  get next() { return this.text[this.at]; }
  get done() { return this.at >= this.text.length; }
  take(s) {
    if (!this.text.startsWith(s, this.at)) return false;
    this.at += s.length;
    return true;
  }
  number() {
    const found = /^\d+/.exec(this.text.slice(this.at));
    if (!found) return null;
    this.at += found[0].length;
    return +found[0];
  }
  refuse(where) {
    const what = REFUSED[this.next];
    throw new QueryError(what ? `${what} cannot be searched for here`
      : this.done ? `${where} ends too soon`
        : `${JSON.stringify(this.next)} at position ${this.at + 1} is not understood in ${where}`);
  }
}

// ! binds first, then & or nothing, then the comma, then the semicolon.
function expression(reader, primitive, where) {
  const starts = () => !reader.done && !',;&]'.includes(reader.next);
  const one = () => {
    if (!reader.take('!')) return primitive(reader, where);
    const inner = one();
    return (...a) => !inner(...a);
  };
  const all = parts => parts.length === 1 ? parts[0] : (...a) => parts.every(p => p(...a));
  const some = parts => parts.length === 1 ? parts[0] : (...a) => parts.some(p => p(...a));
  const near = () => {
    const parts = [one()];
    while (reader.take('&') || (starts() && primitive.follows(reader))) parts.push(one());
    return all(parts);
  };
  const either = () => {
    const parts = [near()];
    while (reader.take(',')) parts.push(near());
    return some(parts);
  };
  const parts = [either()];
  while (reader.take(';')) parts.push(either());
  return all(parts);
}

function atomPrimitive(reader, where) {
  const here = reader.at;
  if (reader.take('#')) {
    const n = reader.number();
    if (n === null || n > ELEMENTS.length) reader.refuse(where);
    return n === 0 ? (mol, i) => mol.atoms[i].symbol === '*'
      : (mol, i) => mol.atoms[i].symbol === ELEMENTS[n - 1];
  }
  const element = ELEMENTS.filter(s => s !== 'H' && reader.text.startsWith(s, here))
    .sort((a, b) => b.length - a.length)[0];
  if (element && reader.take(element)) return symbolIs(element);
  const aromatic = AROMATIC.find(s => reader.take(s));
  if (aromatic) return aromaticIs(capital(aromatic));
  if (reader.take('*')) return anything;
  if (reader.take('A')) return (mol, i) => !mol.atoms[i].aromatic;
  if (reader.take('a')) return (mol, i) => mol.atoms[i].aromatic;
  return countPrimitive(reader, where, here);
}
atomPrimitive.follows = () => true;

function countPrimitive(reader, where, here) {
  if (reader.next === 'H' && reader.text[here - 1] === '[') {
    throw new QueryError('hydrogens are not drawn: count them as in [*H1] or [nH]');
  }
  for (const [letter, measure] of Object.entries(MEASURES)) {
    if (!reader.take(letter)) continue;
    const n = reader.number() ?? 1;
    return (mol, i) => measure(mol, i) === n;
  }
  if (reader.take('R')) {
    const n = reader.number();
    if (n > 0) throw new QueryError('numbers of rings (R1, R2, …) cannot be searched for: R, R0 or r6');
    return (mol, i) => inRing(mol, i) === (n === null);
  }
  if (reader.take('r')) {
    const n = reader.number();
    if (n === 0 || n === null) return (mol, i) => inRing(mol, i) === (n === null);
    return (mol, i) => smallestRing(mol, i) === n;
  }
  return charge(reader, where);
}

const MEASURES = {
  D: (mol, i) => mol.near[i].length,
  X: (mol, i) => mol.near[i].length + mol.atoms[i].h,
  H: (mol, i) => mol.atoms[i].h + mol.near[i].filter(n => mol.atoms[n.to].symbol === 'H').length,
};

function charge(reader, where) {
  const sign = reader.next;
  if (sign !== '+' && sign !== '-') {
    if (/\d/.test(sign)) throw new QueryError('isotopes cannot be searched for');
    reader.refuse(where);
  }
  let n = 0;
  while (reader.take(sign)) n += 1;
  const given = reader.number();
  if (given !== null && n > 1) reader.refuse(where);
  const value = (given ?? n) * (sign === '+' ? 1 : -1);
  return (mol, i) => mol.atoms[i].charge === value;
}

const BONDS = {
  '-': b => b.order === 1 && !b.aromatic, '=': b => b.order === 2 && !b.aromatic,
  '#': b => b.order === 3 && !b.aromatic, ':': b => b.aromatic, '~': anything, '@': b => b.ring,
};
const plainBond = b => b.aromatic || b.order === 1;

function bondPrimitive(reader, where) {
  const sign = reader.next;
  if (!(sign in BONDS)) reader.refuse(where);
  reader.at += 1;
  return BONDS[sign];
}
bondPrimitive.follows = reader => reader.next in BONDS || reader.next === '!';

const inRing = (mol, i) => mol.near[i].some(n => n.bond.ring);

// The shortest cycle through an atom: over its bonds, the shortest way back that avoids the bond.
function smallestRing(mol, i) {
  let best = Infinity;
  for (const {to, bond} of mol.near[i]) {
    if (!bond.ring) continue;
    const far = new Map([[to, 1]]);
    const queue = [to];
    for (let k = 0; k < queue.length && !far.has(i); k += 1) {
      for (const n of mol.near[queue[k]]) {
        if (n.bond === bond || far.has(n.to)) continue;
        far.set(n.to, far.get(queue[k]) + 1);
        queue.push(n.to);
      }
    }
    if (far.has(i)) best = Math.min(best, far.get(i));
  }
  return best;
}

// Atoms as tests, bonds as {a, b, test} with a < b in the order written; throws a QueryError.
function readQuery(text) {
  const reader = new Reader(text.trim());
  const query = {atoms: [], bonds: []};
  const open = [], rings = new Map();
  let before = null, bond = null;
  const joined = (a, b, test) => query.bonds.push({a: Math.min(a, b), b: Math.max(a, b), test});
  while (!reader.done) {
    if (reader.next === '(') {
      if (before === null || bond) reader.refuse('a query');
      reader.at += 1;
      open.push(before);
    } else if (reader.take(')')) {
      if (!open.length || bond) throw new QueryError("')' closes nothing");
      before = open.pop();
    } else if (reader.take('.')) {
      if (before === null || bond) throw new QueryError("'.' stands between atoms");
      before = null;
    } else if (reader.next in BONDS || reader.next === '!') {
      if (before === null || bond) throw new QueryError('a bond stands between two atoms');
      bond = expression(reader, bondPrimitive, 'a bond');
    } else if (/[\d%]/.test(reader.next)) {
      if (before === null) throw new QueryError('a ring label stands behind an atom');
      ringLabel(reader, rings, before, bond, joined);
      bond = null;
    } else {
      query.atoms.push(readAtom(reader));
      if (before !== null) joined(before, query.atoms.length - 1, bond ?? plainBond);
      before = query.atoms.length - 1;
      bond = null;
    }
  }
  finished(query, open, rings, bond);
  return query;
}

function finished(query, open, rings, bond) {
  if (open.length) throw new QueryError("'(' is never closed");
  if (rings.size) throw new QueryError(`ring ${[...rings.keys()][0]} is never closed`);
  if (bond) throw new QueryError('the last bond has no second atom');
  if (!query.atoms.length) throw new QueryError('nothing is written');
  query.back = query.atoms.map((_, k) => query.bonds.filter(b => b.b === k));
}

function readAtom(reader) {
  if (reader.take('[')) {
    const test = expression(reader, atomPrimitive, 'brackets');
    if (!reader.take(']')) reader.refuse('brackets');
    return test;
  }
  for (const s of ['Cl', 'Br', 'B', 'C', 'N', 'O', 'P', 'S', 'F', 'I']) {
    if (reader.take(s)) return symbolIs(s);
  }
  for (const s of ['b', 'c', 'n', 'o', 'p', 's']) if (reader.take(s)) return aromaticIs(capital(s));
  if (reader.take('*')) return anything;
  if (reader.take('A')) return (mol, i) => !mol.atoms[i].aromatic;
  if (reader.take('a')) return (mol, i) => mol.atoms[i].aromatic;
  return reader.refuse('a query');
}

function ringLabel(reader, rings, here, bond, joined) {
  const found = /^(?:%(\d\d)|%\((\d+)\)|(\d))/.exec(reader.text.slice(reader.at));
  if (!found) reader.refuse('a ring label');
  reader.at += found[0].length;
  const label = +(found[1] ?? found[2] ?? found[3]);
  if (!rings.has(label)) {
    rings.set(label, {from: here, bond});
    return;
  }
  const start = rings.get(label);
  rings.delete(label);
  if (start.from === here) throw new QueryError(`ring ${label} binds an atom to itself`);
  if (start.bond && bond) throw new QueryError(`ring ${label} says its bond twice`);
  joined(start.from, here, start.bond ?? bond ?? plainBond);
}

// The first place of a query in a molecule: an atom for each of its atoms, or null. Atoms are tried
// in the order written, each beside the one it was written behind (backtracking, exact).
function findQuery(query, mol) {
  const place = new Array(query.atoms.length).fill(-1);
  const used = new Uint8Array(mol.atoms.length);
  const fits = (k, i) => !used[i] && query.atoms[k](mol, i) && query.back[k].every(({a, test}) => {
    const link = mol.near[i].find(n => n.to === place[a]);
    return link !== undefined && test(link.bond);
  });
  const go = k => {
    if (k === place.length) return true;
    const from = query.back[k][0];
    const choices = from ? mol.near[place[from.a]].map(n => n.to) : mol.atoms.keys();
    for (const i of choices) {
      if (!fits(k, i)) continue;
      place[k] = i;
      used[i] = 1;
      if (go(k + 1)) return true;
      used[i] = 0;
    }
    return false;
  };
  return go(0) ? place : null;
}
