"""Scores remembered on disk, shared by runs and processes: one SQLite file, write-ahead logging.

What failed is remembered too. Of two processes that ask for one object at once the first to answer
is believed by both, so a stochastic reward has one draw for ever.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from scidiff.rewards.identity import Identity
from scidiff.rewards.scores import Answer, Status

FORMAT = 1
_MARK = 0x5C1D1FF  # application_id of the file
_WAIT = 60.0  # seconds that a writer waits for another one
_MANY = 500  # keys of one question
_TABLES = """
CREATE TABLE IF NOT EXISTS rewards (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
    parameters TEXT NOT NULL, UNIQUE (kind, name, version, parameters));
CREATE TABLE IF NOT EXISTS scores (
    reward INTEGER NOT NULL REFERENCES rewards, object TEXT NOT NULL, value REAL,
    status INTEGER NOT NULL, message TEXT NOT NULL, PRIMARY KEY (reward, object)) WITHOUT ROWID;
"""
_log = logging.getLogger("scidiff")


class Cache:
    """A file of scores by kind of object, reward, version, parameters and canonical object.

    `again` are statuses not to be believed but asked anew, for example {Status.TIMEOUT} after the
    limit was raised. Raises ValueError where the file is something else, or of another format.
    """

    def __init__(self, path: str | Path, again: Collection[Status] = ()) -> None:
        self.path, self.again = Path(path), tuple(int(s) for s in again)
        if not self.path.parent.is_dir():
            raise ValueError(f"cache {str(path)!r}: the folder {str(self.path.parent)!r} "
                             "does not exist")
        try:
            self._file = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
            self._open()
        except sqlite3.DatabaseError as error:
            raise ValueError(f"cache {str(path)!r} cannot be used: {error}") from error
        self._ids: dict[tuple[str, Identity], int] = {}

    def close(self) -> None:
        self._file.close()

    def get(self, kind: str, reward: Identity, keys: Sequence[str]) -> dict[str, Answer]:
        """What is known of these objects, key -> answer."""
        known, number = {}, self._id(kind, reward)
        for start in range(0, len(keys), _MANY):
            part = keys[start:start + _MANY]
            rows = self._file.execute(
                "SELECT object, value, status, message FROM scores WHERE reward = ? AND object IN "
                f"({','.join('?' * len(part))})", (number, *part))
            for key, value, status, message in rows:
                if status not in self.again:
                    found = math.nan if value is None else value
                    known[key] = Answer(found, Status(status), message)
        return known

    def put(self, kind: str, reward: Identity, answers: Mapping[str, Answer]) -> None:
        """Remember answers; what is known already stays. SKIPPED is no answer."""
        number = self._id(kind, reward)
        rows = [(number, key, None if math.isnan(a.value) else a.value, int(a.status), a.message)
                for key, a in answers.items() if a.status != Status.SKIPPED]
        anew = ",".join(map(str, self.again)) or "NULL"
        self._file.execute("BEGIN IMMEDIATE")
        try:
            self._file.executemany(
                "INSERT INTO scores VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "value = excluded.value, status = excluded.status, message = excluded.message "
                f"WHERE scores.status IN ({anew})", rows)
        finally:
            self._file.execute("COMMIT")

    def __len__(self) -> int:
        return int(self._file.execute("SELECT count(*) FROM scores").fetchone()[0])

    def _write_ahead(self) -> None:
        """Turn on the log. Of processes that open a new file at once SQLite lets one do that and
        refuses the others at once, however long they would wait."""
        until = time.monotonic() + _WAIT
        while True:
            try:
                self._file.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > until:
                    raise
            time.sleep(0.01)

    def _open(self) -> None:
        self._write_ahead()
        self._file.execute("PRAGMA synchronous = NORMAL")
        # tables first: where another process has made them it has set the marks as well
        tables, = self._file.execute("SELECT count(*) FROM sqlite_master").fetchone()
        mark, = self._file.execute("PRAGMA application_id").fetchone()
        version, = self._file.execute("PRAGMA user_version").fetchone()
        if tables and mark != _MARK:
            raise ValueError(f"cache {str(self.path)!r} is a database of another program")
        if tables and version != FORMAT:
            raise ValueError(f"cache {str(self.path)!r} has format {version}, expected {FORMAT}: "
                             "it was written by another version of scidiff; use a new file")
        self._file.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {_MARK}; "
            f"PRAGMA user_version = {FORMAT}; COMMIT;")

    def _id(self, kind: str, reward: Identity) -> int:
        if (kind, reward) not in self._ids:
            self._file.execute("INSERT OR IGNORE INTO rewards VALUES (NULL, ?, ?, ?, ?)",
                               (kind, *reward))
            row = self._file.execute(
                "SELECT id FROM rewards WHERE (kind, name, version, parameters) = (?, ?, ?, ?)",
                (kind, *reward)).fetchone()
            self._ids[kind, reward] = int(row[0])
            self._tell_other_versions(kind, reward)
        return self._ids[kind, reward]

    def _tell_other_versions(self, kind: str, reward: Identity) -> None:
        others = self._file.execute(
            "SELECT version, count(object) FROM rewards JOIN scores ON reward = id "
            "WHERE (kind, name, parameters) = (?, ?, ?) AND version != ? GROUP BY version",
            (kind, reward.name, reward.parameters, reward.version)).fetchall()
        for version, count in others:
            _log.warning("reward %r is version %r now: %d scores of version %r in cache %r are "
                         "not used", reward.name, reward.version, count, version, str(self.path))
