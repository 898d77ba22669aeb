-- The ten worst of the airports with 1,000 flights or more: mean delay of the flights that leave or land there.

WITH airport AS (
	SELECT actor_id,
		(value->>'departures')::int AS departures,
		(value->>'arrivals')::int AS arrivals,
		(value->>'total_delay')::numeric AS total_delay,
		(value->>'worst_delay')::int AS worst_delay
	FROM actorstore.actor_airport
), worst AS (
	SELECT *, total_delay / (departures + arrivals) AS mean_delay
	FROM airport
	WHERE departures + arrivals >= 1000
	ORDER BY mean_delay DESC, actor_id
	LIMIT 10
)
SELECT actor_id AS "airport", departures, arrivals, worst_delay AS "worst, min", round(mean_delay, 1) AS "mean, min",
	repeat('#', round(40 * mean_delay / max(mean_delay) OVER ())::int) AS "mean delay"
FROM worst
ORDER BY mean_delay DESC, actor_id;
