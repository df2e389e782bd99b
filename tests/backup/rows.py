"""Tables with something of everything, and what may be wrong with a copy of them, as statements."""

from __future__ import annotations

ROWS = """
CREATE TABLE lab (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, body text, at timestamptz DEFAULT now());
INSERT INTO lab (name, body) SELECT 'name ' || n, md5(n::text) FROM generate_series(1, 20000) n;
CREATE INDEX lab_body ON lab (body);
CREATE TABLE lab_child (id int PRIMARY KEY, lab bigint NOT NULL REFERENCES lab (id), CHECK (id > 0));
INSERT INTO lab_child SELECT n, n FROM generate_series(1, 500) n;
CREATE VIEW lab_names AS SELECT name FROM lab;
CREATE FUNCTION lab_twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
SELECT lo_from_bytea(0, decode(md5(n::text), 'hex')) FROM generate_series(1, 3) n;
"""
# What somebody may have lost or changed between the snapshot and the files, as statements in a copy.
DEFECTS = {
    "a missing row": "DELETE FROM lab WHERE id = 777",
    "a missing last row": "DELETE FROM lab_child WHERE id = 500",
    "a row too many": "INSERT INTO lab_child VALUES (501, 1)",
    "a changed letter": "UPDATE lab SET body = 'x' || substr(body, 2) WHERE id = 12345",
    "two values exchanged": "UPDATE lab SET body = CASE id WHEN 1 THEN md5('2') ELSE md5('1') END WHERE id IN (1, 2)",
    "a time moved by a microsecond": "UPDATE lab SET at = at + interval '1 microsecond' WHERE id = 5",
    "an empty text for nothing": "UPDATE lab SET body = NULL WHERE id = 9",
    "an emptied table": "DELETE FROM lab_child",
    "a missing table": "DROP TABLE lab_child",
    "a missing index": "DROP INDEX lab_body",
    "a missing constraint": "ALTER TABLE lab_child DROP CONSTRAINT lab_child_id_check",
    "a missing foreign key": "ALTER TABLE lab_child DROP CONSTRAINT lab_child_lab_fkey",
    "a missing unique key": "ALTER TABLE lab DROP CONSTRAINT lab_name_key",
    "a missing default": "ALTER TABLE lab ALTER COLUMN at DROP DEFAULT",
    "a column that may be empty": "ALTER TABLE lab ALTER COLUMN name DROP NOT NULL",
    "a missing view": "DROP VIEW lab_names",
    "a changed function": "CREATE OR REPLACE FUNCTION lab_twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 3'",
    "a sequence that ran back": "SELECT setval('lab_id_seq', 100)",
    "a sequence that ran ahead": "SELECT setval('lab_id_seq', 30000)",
    "a missing large object": "SELECT lo_unlink((SELECT min(oid) FROM pg_largeobject_metadata))",
    "a changed large object": "SELECT lo_put((SELECT max(oid) FROM pg_largeobject_metadata), 3, 'x')",
    "a stranger's table": "CREATE TABLE stranger (id int)",
}
