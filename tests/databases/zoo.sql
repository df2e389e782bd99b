-- One of everything that a database can hold, for any version from 9.6 on. Ordinary rights are enough.
CREATE SCHEMA "Größe.""x""";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s "fine"');
CREATE TYPE pair AS (one integer, two double precision);
CREATE DOMAIN percent AS numeric(5, 2) CONSTRAINT in_range CHECK (VALUE >= 0 AND VALUE <= 100);
CREATE DOMAIN measure AS double precision;
CREATE DOMAIN blob AS bytea;
CREATE TYPE period AS RANGE (subtype = timestamptz);

CREATE TABLE account (
    id serial PRIMARY KEY,
    name text NOT NULL UNIQUE,
    mail varchar(80) COLLATE "C",
    made timestamptz NOT NULL DEFAULT now(),
    active boolean DEFAULT true,
    CONSTRAINT mail_has_at CHECK (mail ~ '@')
);
COMMENT ON TABLE account IS 'who may log in';
COMMENT ON COLUMN account.mail IS 'it''s "quoted" – ünïcode';
INSERT INTO account (name, mail, made)
SELECT 'user ' || n, 'user' || n || '@example.test', timestamptz '2020-03-29 01:30+01' + n * interval '7 hours 13 minutes' FROM generate_series(1, 2000) n;
ALTER TABLE account ADD COLUMN gone integer;
ALTER TABLE account DROP COLUMN gone;
CREATE INDEX account_lower ON account (lower(name)) WHERE active;
CREATE INDEX account_made ON account (made DESC NULLS LAST);

CREATE TABLE values_of_all_kinds (
    small smallint, whole integer, large bigint, exact numeric, single real, double double precision, doubles double precision[], cash money,
    letters char(9), words text, raw bytea, raws bytea[], day date, hour time, zoned timetz, moment timestamp, instant timestamptz, span interval,
    yes boolean, feeling mood, feelings mood[], both_of pair, share percent, length measure, piece blob, at_all jsonb, as_written json,
    address inet, net cidr, hardware macaddr, id uuid, found tsvector, question tsquery, spot point, shape polygon, some_bits bit varying(9),
    reach int4range, during period, tags text[], matrix integer[][], relation regclass, number oid, "name ""in"" quotes" text
);
INSERT INTO values_of_all_kinds (
    small, whole, large, exact, single, double, doubles, cash, letters, words, raw, raws, day, hour, zoned, moment, instant, span, yes, feeling, feelings,
    both_of, share, length, piece, at_all, as_written, address, net, hardware, id, found, question, spot, shape, some_bits, reach, during, tags, matrix,
    relation, number, "name ""in"" quotes")
SELECT n, -n, n * 9007199254740993, n / 7.0, n / 7.0, n / 7.0, ARRAY[(n / 3.0)::double precision, NULL, 'NaN', '-Infinity'], n * 1.01, 'a' || n,
    E'line\nbreak\ttab \\ "quote" ''single'' – ü ' || n, decode(md5(n::text), 'hex'), ARRAY[decode(md5(n::text), 'hex')], date '1582-10-04' + n, time '23:59:59.999999',
    timetz '12:00:00+05:45', timestamp '0044-03-15 12:00 BC' + n * interval '1 month', timestamptz 'epoch' + n * interval '1.000001 s',
    interval '1 year -2 months 3 days -04:05:06.7' * n, n % 3 = 0, 'it''s "fine"', ARRAY['sad', NULL]::mood[], ROW(n, n / 9.0)::pair, n % 100, n / 11.0,
    decode(md5(n::text), 'hex'), json_build_object('n', n, 'x', n / 7.0, 'nothing', NULL, 'ü', ARRAY[1, 2])::jsonb, '{"b": 1,  "a": [ 1.10, null ], "b": 2}',
    '192.0.2.1'::inet + n, '2001:db8::/32', '08:00:2b:01:02:03', md5(n::text)::uuid, to_tsvector('simple', 'a word ' || n), 'a & (b | !c)',
    point(n / 7.0, -n), '((0,0),(1,0.1),(2,3))', B'10110', int4range(n, n + 5), period(timestamptz 'epoch', timestamptz 'epoch' + n * interval '1 hour'),
    ARRAY['', NULL, 'NULL', 'with "quotes"', ',{}'], ARRAY[[1, n], [3, 4]], 'account', n, 'x'
FROM generate_series(1, 300) n;
INSERT INTO values_of_all_kinds (double, single, exact, instant, day) VALUES ('NaN', '-Infinity', 'NaN', 'infinity', '-infinity'), ('-0', 0, 0, NULL, NULL);
-- Two rows that are the same, without a key to tell them apart.
INSERT INTO values_of_all_kinds (words) VALUES ('twice'), ('twice'), (NULL), ('');

CREATE TABLE "Größe.""x"""."Tabelle; DROP" ("Spalte ""1""" text, "null" text, "a'b" integer);
INSERT INTO "Größe.""x"""."Tabelle; DROP" VALUES ('', NULL, 1), (NULL, '', 2), ('\.', '\N', 3);
CREATE TABLE nothing_in_it (a integer);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE heir (extra text) INHERITS (account);
INSERT INTO heir (name, mail, extra) VALUES ('heir', 'heir@example.test', 'x');
CREATE TABLE session (account integer REFERENCES account ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, token text, seen period, EXCLUDE USING gist (seen WITH &&));
INSERT INTO session VALUES (1, 'token', period('2020-01-01', '2020-01-02'));
CREATE UNLOGGED TABLE forgotten (a integer);
INSERT INTO forgotten VALUES (1);

CREATE SEQUENCE odd INCREMENT -3 MINVALUE -1000 MAXVALUE 9 START 9 CACHE 4 CYCLE;
SELECT nextval('odd'), nextval('odd');
CREATE SEQUENCE "Größe.""x"""."nie benutzt" START 77;

CREATE VIEW active_account AS SELECT id, name, lower(mail) AS mail FROM account WHERE active AND made > '2020-04-01' ORDER BY name;
CREATE VIEW joined AS SELECT a.name, s.token FROM account a LEFT JOIN session s ON s.account = a.id WHERE (a.active OR s.token IS NULL) AND a.id IN (1, 2, 3);
CREATE MATERIALIZED VIEW counted AS SELECT active, count(*) AS count FROM account GROUP BY active;
CREATE UNIQUE INDEX counted_active ON counted (active);

CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$ BEGIN NEW.mail := lower(NEW.mail); RETURN NEW; END $$;
CREATE FUNCTION add(a integer, b integer DEFAULT 7) RETURNS integer LANGUAGE sql IMMUTABLE STRICT AS 'SELECT a + b';
CREATE FUNCTION add(a text, VARIADIC b text[]) RETURNS SETOF text LANGUAGE sql STABLE COST 7 ROWS 3 AS 'SELECT a || unnest(b)';
CREATE AGGREGATE product (double precision) (sfunc = float8mul, stype = double precision, initcond = '1');
CREATE OPERATOR === (procedure = texteq, leftarg = text, rightarg = text, commutator = ===);
COMMENT ON FUNCTION touch() IS 'on every write';
CREATE TRIGGER on_write BEFORE INSERT OR UPDATE OF mail ON account FOR EACH ROW WHEN (NEW.mail IS NOT NULL) EXECUTE PROCEDURE touch();
CREATE RULE no_delete AS ON DELETE TO nothing_in_it DO INSTEAD NOTHING;
ALTER TABLE session ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON session USING (token = current_user) WITH CHECK (token <> '');

SELECT lo_from_bytea(700001, 'a large object');
SELECT lo_from_bytea(700002, '');
SELECT lo_from_bytea(700003, decode(repeat(md5('x'), 200000), 'hex'));
