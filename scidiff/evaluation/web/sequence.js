// Sequences: letters in colours, and a search for motifs.

const IUPAC = {R: 'AG', Y: 'CT', S: 'CG', W: 'AT', K: 'GT', M: 'AC', B: 'CGT', D: 'AGT', H: 'ACT', V: 'ACG',
  N: 'ACGT'};
const ALPHABETS = {DNA: 'ACGT', RNA: 'ACGU', peptide: 'ACDEFGHIKLMNPQRSTVWY'};
const CLASSES = {  // of residues by what their side chains do
  ...Object.fromEntries([...'KRH'].map(x => [x, 'basic'])), ...Object.fromEntries([...'DE'].map(x => [x, 'acid'])),
  ...Object.fromEntries([...'STNQ'].map(x => [x, 'polar'])), ...Object.fromEntries([...'AVLIM'].map(x => [x, 'fat'])),
  ...Object.fromEntries([...'FWY'].map(x => [x, 'ring'])), ...Object.fromEntries([...'GPC'].map(x => [x, 'turn'])),
};
const letterClass = letter => doc.letters === 'peptide' ? CLASSES[letter] ?? '' : `b${letter === 'U' ? 'T' : letter}`;

// A motif as a regular expression: letters, IUPAC codes of nucleotides, X (or .) for any residue, [ST]
// for one of several, {P} for any other; throws a QueryError.
function readMotif(text) {
  const letters = ALPHABETS[doc.letters];
  const motif = text.trim().toUpperCase();
  if (!motif) throw new QueryError('nothing is written');
  const parts = motif.match(/\[[^\]]*\]|\{[^}]*\}|[^]/g);
  return new RegExp(`(?=(${parts.map(part => onePlace(part, letters)).join('')}))`, 'g');
}

function onePlace(part, letters) {
  if (part.length > 1) {
    const inside = [...part.slice(1, -1)];
    if (!inside.length) throw new QueryError(`${part} holds no letter`);
    inside.forEach(x => known(x, letters));
    return part[0] === '[' ? `[${inside.join('')}]` : `[^${inside.join('')}]`;
  }
  if (part === '.') return '.';
  if (doc.letters === 'peptide') return part === 'X' ? '.' : known(part, letters);
  const read = doc.letters === 'RNA' ? x => x.replace(/T/g, 'U') : x => x;
  const one = read(part);
  return letters.includes(one) ? one : IUPAC[part] ? `[${read(IUPAC[part])}]` : known(part, letters);
}

function known(letter, letters) {
  if (letters.includes(letter)) return letter;
  throw new QueryError(`${JSON.stringify(letter)} is no letter of a ${doc.letters} motif`);
}

// Where a motif stands in a text, overlaps included: [first letter, one past the last] of each.
function findMotif(motif, text) {
  return [...text.toUpperCase().matchAll(motif)].map(m => [m.index, m.index + m[1].length]);
}

// The text in colours, hits underlined; neighbours of one colour share an element. Longer ones are
// cut at `most` letters.
function coloured(row, most, hits = []) {
  const text = doc.text[row].slice(0, most);
  const marked = new Uint8Array(text.length);
  hits.forEach(([from, to]) => marked.fill(1, from, to));
  const parts = [];
  for (let i = 0, start = 0; i < text.length; i += 1) {
    const kind = letterClass(text[i]) + (marked[i] ? ' hit' : '');
    const next = i + 1 < text.length ? letterClass(text[i + 1]) + (marked[i + 1] ? ' hit' : '') : null;
    if (kind === next) continue;
    parts.push(el('span', {class: kind}, text.slice(start, i + 1)));
    start = i + 1;
  }
  return el('code', {class: 'letters'}, ...parts, doc.text[row].length > most ? '…' : null);
}
