-- The type vclock: what it reads and writes, both orders, counting, indexes.
SELECT v::actorstore.vclock FROM unnest(ARRAY['{}', '{1:5,2:7}', ' { 2 : 7 , 1 : 5 } ', '{3:0,1:1}', '{2147483647:9223372036854775807}']) AS v;

-- bad input
CREATE FUNCTION refused(v text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM v::actorstore.vclock;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, SQLERRM, detail);
END $$;
SELECT v, refused(v) FROM unnest(ARRAY['', '1:5', '{', '{1', '{1:', '{1:5', '{1:5,', '{1:5,}', '{,}', '{1:5 2:7}', '{1:5}x', '{1:-5}', '{-1:5}', '{0:5}',
	'{1:5,1:6}', '{1:5,1:0}', '{2147483648:1}', '{1:9223372036854775808}', '{1:99999999999999999999999}', '{a:1}', '{1;1}']) AS v;
SELECT left(refused('{' || string_agg(n || ':1', ',') || '}'), 60) FROM generate_series(1, 1025) AS n;
SELECT refused('{' || string_agg(n || ':1', ',') || '}') FROM generate_series(1, 1024) AS n;

-- how clocks stand to each other; a node that is missing stands at 0
WITH v (v) AS (SELECT unnest('{"{}","{1:1}","{1:1,2:1}","{1:2}","{2:1}"}'::actorstore.vclock[]))
SELECT a.v AS a, b.v AS b,
	a.v OPERATOR(actorstore.=) b.v AS eq, a.v OPERATOR(actorstore.<>) b.v AS ne,
	a.v OPERATOR(actorstore.<) b.v AS before, a.v OPERATOR(actorstore.>) b.v AS after,
	a.v OPERATOR(actorstore.<=) b.v AS before_eq, a.v OPERATOR(actorstore.>=) b.v AS after_eq,
	a.v OPERATOR(actorstore.||) b.v AS concurrent,
	actorstore.merge(a.v, b.v) AS merged
FROM v AS a, v AS b ORDER BY a.v, b.v;

SET search_path = public, actorstore;
-- For many clocks: exactly one of before, after, equal, concurrent holds; the total order agrees with the partial one; a merge is at or
-- after both, and the least such clock; the same clocks have the same hash.
CREATE TABLE clock AS
SELECT n, format('{1:%s,2:%s,3:%s}', n % 4, n / 4 % 4, n / 16)::vclock AS v FROM generate_series(0, 63) AS n;
SELECT count(*) AS pairs,
	count(*) FILTER (WHERE (a.v < b.v)::int + (a.v > b.v)::int + (a.v = b.v)::int + (a.v || b.v)::int <> 1) AS not_one,
	count(*) FILTER (WHERE a.v < b.v AND NOT (a.v #<# b.v AND b.v #># a.v AND a.v #<=# b.v AND NOT a.v #>=# b.v)) AS orders_disagree,
	count(*) FILTER (WHERE (a.v = b.v) <> (a.v::text = b.v::text) OR (a.v = b.v) <> (vclock_cmp(a.v, b.v) = 0)) AS not_equal,
	count(*) FILTER (WHERE a.v = b.v AND (vclock_hash(a.v) <> vclock_hash(b.v) OR vclock_hash_extended(a.v, 7) <> vclock_hash_extended(b.v, 7))) AS hashes_differ,
	count(*) FILTER (WHERE NOT (merge(a.v, b.v) >= a.v AND merge(a.v, b.v) >= b.v)) AS merge_before,
	count(*) FILTER (WHERE merge(a.v, b.v) <> format('{1:%s,2:%s,3:%s}', greatest(a.n % 4, b.n % 4), greatest(a.n / 4 % 4, b.n / 4 % 4), greatest(a.n / 16, b.n / 16))::vclock) AS merge_wrong,
	count(*) FILTER (WHERE (vclock_lt(a.v, b.v) OR vclock_gt(a.v, b.v)) = (a.v = b.v)) AS not_total
FROM clock AS a, clock AS b;
SELECT merge(v) FROM clock;
SELECT merge(v) FROM clock WHERE false;

-- counting
SELECT increment('{}', 3), increment('{1:5,3:2}', 2), increment('{1:5,3:2}', 3), counter('{1:5,3:2}', 3), counter('{1:5}', 2);
SELECT increment(NULL, 1) IS NULL AS i, merge(NULL, '{}'::vclock) IS NULL AS m;
SELECT increment('{1:9223372036854775807}', 1);
SELECT counter(increment(('{' || string_agg(n || ':1', ',') || '}')::vclock, 1), 1) FROM generate_series(1, 1024) AS n;
SELECT increment(('{' || string_agg(n || ':1', ',') || '}')::vclock, 2000) FROM generate_series(1, 1024) AS n;
SELECT increment('{}', 0);
SELECT counter('{}', -1);

-- indexes
INSERT INTO clock SELECT n, format('{%s:%s}', n % 100 + 4, n)::vclock FROM generate_series(64, 5000) AS n;
CREATE UNIQUE INDEX clock_btree ON clock (v);
CREATE INDEX clock_hash ON clock USING hash (v);
INSERT INTO clock VALUES (-1, '{2:0,1:1}');
ANALYZE clock;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT n FROM clock ORDER BY v LIMIT 3;
SELECT n FROM clock ORDER BY v LIMIT 3;
DROP INDEX clock_btree;
EXPLAIN (COSTS OFF) SELECT n FROM clock WHERE v = '{5:1001}';
SELECT n FROM clock WHERE v = '{5:1001}';
RESET enable_seqscan;
SELECT count(*), count(DISTINCT v) FROM clock;
SELECT count(*) FROM (SELECT v FROM clock GROUP BY v) AS g;

-- binary form
SELECT vclock_send('{1:5,2:7}'), vclock_send('{}');
COPY clock (v) TO PROGRAM 'cat >vclock.copy' WITH (FORMAT binary);
CREATE TABLE copied (v vclock);
COPY copied FROM PROGRAM 'cat vclock.copy; rm vclock.copy' WITH (FORMAT binary);
SELECT (SELECT count(*) FROM copied) AS copied, count(*) AS differ FROM (TABLE copied EXCEPT SELECT v FROM clock) AS d;
-- one node, counted to 0; node 0; nodes that do not ascend; a count that is negative; too many; something missing; something left
COPY copied FROM PROGRAM E'printf \'PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\20\\0\\0\\0\\1\\0\\0\\0\\1\\0\\0\\0\\0\\0\\0\\0\\0\'' WITH (FORMAT binary);
COPY copied FROM PROGRAM E'printf \'PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\20\\0\\0\\0\\1\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\'' WITH (FORMAT binary);
COPY copied FROM PROGRAM E'printf \'PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\34\\0\\0\\0\\2\\0\\0\\0\\2\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\2\\0\\0\\0\\0\\0\\0\\0\\1\'' WITH (FORMAT binary);
COPY copied FROM PROGRAM E'printf \'PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\4\\377\\377\\377\\377\'' WITH (FORMAT binary);
COPY copied FROM PROGRAM E'printf \'PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\4\\0\\0\\4\\1\'' WITH (FORMAT binary);
COPY copied FROM PROGRAM E'printf \'PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\4\\0\\0\\0\\1\'' WITH (FORMAT binary);
COPY copied FROM PROGRAM E'printf \'PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\5\\0\\0\\0\\0\\1\'' WITH (FORMAT binary);

RESET search_path;
DROP TABLE clock, copied;
DROP FUNCTION refused(text);
