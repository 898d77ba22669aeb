-- The table that one would write by hand for the same job, and the functions that one would wrap around it.

CREATE TABLE handmade (
	actor_type text NOT NULL,
	actor_id text NOT NULL,
	value jsonb NOT NULL,
	version bigint NOT NULL DEFAULT 0,
	created_at timestamptz NOT NULL DEFAULT now(),
	updated_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (actor_type, actor_id)
);

CREATE OR REPLACE FUNCTION cas_plpgsql(actor_type text, actor_id text, value jsonb, expected_version bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	new_version bigint;
BEGIN
	UPDATE handmade AS h SET value = $3, version = h.version + 1, updated_at = now()
		WHERE h.actor_type = $1 AND h.actor_id = $2 AND h.version = $4
		RETURNING h.version INTO new_version;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'actor is missing or has another version' USING ERRCODE = 'serialization_failure';
	END IF;
	RETURN new_version;
END
$$;

CREATE OR REPLACE FUNCTION cas_sql(actor_type text, actor_id text, value jsonb, expected_version bigint)
RETURNS bigint LANGUAGE sql AS $$
	UPDATE handmade AS h SET value = $3, version = h.version + 1, updated_at = now()
		WHERE h.actor_type = $1 AND h.actor_id = $2 AND h.version = $4
		RETURNING h.version
$$;
