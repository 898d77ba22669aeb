-- What the actors of this database are doing, as a screen for psql:  psql -f examples/top/top.sql
-- Every two seconds; -v seconds=5 for another pace, -v plain=on where the screen is not to be cleared each time.  Ctrl-C ends it.
--
-- Rates are those since the last screen: the counters are kept in a setting of the session, top.before.

\if :{?seconds}
\else
\set seconds 2
\endif
\set QUIET on
\if :{?plain}
\else
\C '\033[2J\033[H'
\endif
\pset pager off
\pset footer off
\pset null ''
\pset border 1
SET client_min_messages = warning;

-- The counters of a moment: of each type, and of all workers together.
PREPARE top AS
WITH before AS MATERIALIZED (
	SELECT coalesce(nullif(current_setting('top.before', true), '')::jsonb, '{}') AS counters
), now AS MATERIALIZED (
	SELECT t.actor_type, t.handled, t.failed, t.dead, t.answered, q.depth, q.delayed, q.oldest_age,
		l.waiting_p99, l.handling_p99, l.round_trip_p99, extract(epoch FROM clock_timestamp()) AS at
	FROM actorstore.stat_types AS t
		JOIN actorstore.stat_queues AS q USING (actor_type)
		LEFT JOIN actorstore.stat_latency AS l USING (actor_type)
), since AS MATERIALIZED (
	SELECT n.*, n.at - (b.before ->> 'at')::numeric AS seconds, n.handled - (b.before ->> 'handled')::bigint AS new_handled,
		n.failed - (b.before ->> 'failed')::bigint AS new_failed, n.answered - (b.before ->> 'answered')::bigint AS new_answered
	FROM now AS n CROSS JOIN LATERAL (SELECT counters -> n.actor_type AS before FROM before) AS b
), kept AS MATERIALIZED (
	SELECT set_config('top.before', coalesce(jsonb_object_agg(actor_type, jsonb_build_object(
		'at', at, 'handled', handled, 'failed', failed, 'answered', answered)), '{}')::text, false) AS counters
	FROM since
), workers AS (
	SELECT count(*) AS n, count(*) FILTER (WHERE state <> 'sleeping') AS awake
	FROM actorstore.stat_workers WHERE database = current_database()
)
SELECT CASE WHEN actor_type IS NULL THEN format('%s of %s workers awake', awake, n) ELSE actor_type END AS "type",
	depth AS "waiting", delayed AS "for a time", to_char(oldest_age, 'HH24:MI:SS') AS "oldest",
	round(handled_rate) AS "handled/s", round(answered_rate) AS "asked/s", round(failed_rate, 1) AS "failed/s", dead AS "dead",
	round(waiting_p99::numeric, 1) AS "wait p99 ms", round(handling_p99::numeric, 3) AS "turn p99 ms", round(round_trip_p99::numeric, 1) AS "ask p99 ms"
FROM (
	SELECT 1 AS place, actor_type, depth, delayed, oldest_age, new_handled / nullif(seconds, 0) AS handled_rate,
		new_answered / nullif(seconds, 0) AS answered_rate, new_failed / nullif(seconds, 0) AS failed_rate, dead,
		waiting_p99, handling_p99, round_trip_p99
	FROM since
	UNION ALL
	SELECT 0, NULL, sum(depth), sum(delayed), max(oldest_age), sum(new_handled / nullif(seconds, 0)), sum(new_answered / nullif(seconds, 0)),
		sum(new_failed / nullif(seconds, 0)), sum(dead), NULL, NULL, NULL
	FROM since) AS lines CROSS JOIN workers CROSS JOIN kept
ORDER BY place, handled_rate DESC NULLS LAST, depth DESC, actor_type
LIMIT 40;

EXECUTE top \watch :seconds
