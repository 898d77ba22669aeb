-- A chat: rooms and people are actors, the people in a room are a group, and what they hear reaches psql by NOTIFY.
--
--     psql -f examples/chat/chat.sql
--
-- in a database where the extension may be created; README.md beside this file shows what to do then.

\set ON_ERROR_STOP on
\set QUIET on
CREATE EXTENSION IF NOT EXISTS actorstore;

-- A room that fails at a message is restarted by its supervisor; its other messages are not lost.
SELECT actorstore.create_type('room', max_attempts => 1, on_exhausted => 'escalate') \g /dev/null
SELECT actorstore.create_type('person') \g /dev/null
SELECT actorstore.create_type('house') \g /dev/null

-- Everybody in the room hears it, in one transaction with what the room remembers: the last ten lines.
CREATE FUNCTION room_tell(state jsonb, who text, what text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	room text := (actorstore.context()).actor_id;
	line text := format('%s: %s %s', room, who, what);
BEGIN
	PERFORM actorstore.broadcast('room ' || room, 'hear', to_jsonb(line));
	RETURN jsonb_path_query_array(coalesce(state, '[]') || to_jsonb(line), '$[last - 9 to last]');
END $$;

-- {"who": a person}: comes in, and hears what was said before
CREATE FUNCTION room_enter(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM actorstore.send('person', body->>'who', 'hear', line) FROM jsonb_array_elements(coalesce(state, '[]')) AS line;
	PERFORM actorstore.join_group('room ' || actor_id, 'person', body->>'who') FROM actorstore.context();
	RETURN room_tell(state, body->>'who', 'comes in');
END $$;

-- {"who": a person, "text": what is said}
CREATE FUNCTION room_say(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF body->>'text' IS NULL THEN
		RAISE EXCEPTION '% says nothing', body->>'who';
	END IF;
	RETURN room_tell(state, body->>'who', 'says: ' || (body->>'text'));
END $$;

-- {"who": a person}
CREATE FUNCTION room_leave(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM actorstore.leave_group('room ' || actor_id, 'person', body->>'who') FROM actorstore.context();
	RETURN room_tell(state, body->>'who', 'goes out');
END $$;

-- Called after a restart.
CREATE FUNCTION room_restarted(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN room_tell(state, 'somebody', 'dusts the room: ' || (body->>'reason'));
END $$;

-- A line: goes to whoever listens to chat_<name> at this moment; the person remembers how many there were.
CREATE FUNCTION person_hear(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('chat_' || actor_id, body #>> '{}') FROM actorstore.context();
	RETURN jsonb_build_object('heard', coalesce((state->>'heard')::int, 0) + 1);
END $$;

-- Goes home: whoever stops leaves all groups.
CREATE FUNCTION person_go_home(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM actorstore.stop();
	RETURN NULL;
END $$;

SELECT actorstore.set_handler('room', message, ('room_' || name || '(jsonb, jsonb)')::regprocedure)
FROM (VALUES ('enter', 'enter'), ('say', 'say'), ('leave', 'leave'), ('$post_restart', 'restarted')) AS x (message, name) \g /dev/null
SELECT actorstore.set_handler('person', name, ('person_' || name || '(jsonb, jsonb)')::regprocedure)
FROM unnest(ARRAY['hear', 'go_home']) AS name \g /dev/null

-- Groups of people in a room outlive the room's restart; so does what it remembers.
SELECT actorstore.supervise('house', 'main', 'room', room, max_restarts => 10, period => '1 min', keep_state => true)
FROM unnest(ARRAY['kitchen', 'garden']) AS room \g /dev/null

-- What people do at psql
CREATE FUNCTION enter(who text, room text) RETURNS void LANGUAGE sql AS $$ SELECT actorstore.send('room', room, 'enter', jsonb_build_object('who', who)) $$;
CREATE FUNCTION say(who text, room text, words text) RETURNS void LANGUAGE sql AS $$ SELECT actorstore.send('room', room, 'say', jsonb_build_object('who', who, 'text', words)) $$;
CREATE FUNCTION leave(who text, room text) RETURNS void LANGUAGE sql AS $$ SELECT actorstore.send('room', room, 'leave', jsonb_build_object('who', who)) $$;
CREATE FUNCTION go_home(who text) RETURNS void LANGUAGE sql AS $$ SELECT actorstore.send('person', who, 'go_home') $$;
