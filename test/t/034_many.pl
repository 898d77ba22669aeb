# Handlers that take many messages at once: f(state jsonb, bodies jsonb[]).  A turn calls them once for the messages of one
# name that stand behind each other, and one by one for what has to be told apart.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('many', settings => 'actorstore.workers = 1');
new_database_with_actors($node, 'd');

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }

# Adds the bodies to the state; notes how many there were, and what context() says.
sql(q{
CREATE TABLE call_of (n serial, actor_id text, message text, bodies jsonb[], headers jsonb);
CREATE FUNCTION take(state jsonb, bodies jsonb[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	me record := actorstore.context();
BEGIN
	INSERT INTO call_of (actor_id, message, bodies, headers) VALUES (me.actor_id, me.message, bodies, me.headers);
	IF '"bad"' = ANY (bodies) THEN
		RAISE EXCEPTION 'a bad one among %', cardinality(bodies);
	ELSIF '"unwanted"' = ANY (bodies) THEN
		PERFORM actorstore.reject('unwanted');
	ELSIF '"last"' = ANY (bodies) THEN
		PERFORM actorstore.stop();
	END IF;
	IF me.message = 'large' THEN
		RETURN state;
	ELSIF me.message = 'ask' THEN
		PERFORM actorstore.reply(to_jsonb(cardinality(bodies)));
	END IF;
	RETURN coalesce(state, '[]') || coalesce(to_jsonb(bodies), '[]');
END $$;
CREATE FUNCTION total(state jsonb, bodies jsonb[]) RETURNS jsonb LANGUAGE sql STRICT RETURN
	(SELECT to_jsonb(state::bigint + sum(b::bigint)) FROM unnest(bodies) AS b);
SELECT actorstore.create_type('m', max_attempts => 2, backoff => '10 ms'), actorstore.set_handler('m', '*', 'take(jsonb, jsonb[])'),
	actorstore.create_type('total'), actorstore.set_handler('total', 'add', 'total(jsonb, jsonb[])')});

# Messages that are all there before the first of them is handled; the calls, in their order.
sub handle
{
	my ($actor, @sends) = @_;

	sql(qq{SELECT actorstore.pause('m', '$actor')});
	sql(join '; ', map { "SELECT actorstore.send('m', '$actor', $_)" } @sends);
	sql(qq{SELECT actorstore.resume('m', '$actor')});
	ok(handled($node, 'd', 'm'), "$actor: all are handled");
	return sql(qq{SELECT string_agg(message || ' ' || cardinality(bodies), ', ' ORDER BY n) FROM call_of WHERE actor_id = '$actor'});
}
sub state_of { my ($actor) = @_; return sql("SELECT value FROM actorstore.get('m', '$actor')"); }

is(handle('one name', map { qq{'add', '$_', headers => '{"k": $_}'} } 1 .. 50), 'add 50', 'one call for all of them');
is(state_of('one name'), '[' . join(', ', 1 .. 50) . ']', 'in their order');
is(sql(q{SELECT version FROM actorstore.get('m', 'one name')}), 0, 'and one version');
is(sql(q{SELECT headers FROM call_of WHERE actor_id = 'one name'}), '{"k": 50}', 'context() is of the last one');

is(handle('names', "'add', '1'", "'add', NULL", "'drop', '3'", "'add', '4'"), 'add 2, drop 1, add 1', 'a call for each run of one name');
is(state_of('names'), '[1, null, 3, 4]', 'in their order, and NULL is one');
is(sql(q{SELECT bodies[2] IS NULL FROM call_of WHERE actor_id = 'names' ORDER BY n LIMIT 1}), 't', 'as NULL');

is(handle('told apart', "'add', '1'", "'add', '2', dedup_key => 'k'", "'add', '3'", "'add', '4', expires_at => 'yesterday'", "'add', '5'", "'add', '6'"),
	'add 1, add 1, add 1, add 2', 'what has a dedup_key, or is expired, stands for itself');
is(state_of('told apart'), '[1, 2, 3, 5, 6]', 'and the expired one is not there');
is(sql(q{SELECT string_agg(reason || ' ' || body, ', ') FROM actorstore.dead_letter WHERE actor_id = 'told apart'}), 'expired 4', 'but among the dead');

is(handle('bad', map { "'add', '$_'" } 1, 2, '"bad"', 4, 5), 'add 1, add 1, add 1, add 1', 'where one fails, they are handled one by one');
is(state_of('bad'), '[1, 2, 4, 5]', 'the others once');
is(sql(q{SELECT string_agg(reason || ' ' || attempts || ' ' || body || ' ' || error, ', ') FROM actorstore.dead_letter WHERE actor_id = 'bad'}),
	'exhausted 2 "bad" a bad one among 1', 'and that one has failed by itself');

is(handle('unwanted', map { "'add', '$_'" } 1, '"unwanted"', 3), 'add 1, add 1', 'reject() is of one, too');
is(state_of('unwanted'), '[1, 3]', 'the others are handled');
is(sql(q{SELECT string_agg(reason || ' ' || body, ', ') FROM actorstore.dead_letter WHERE actor_id = 'unwanted'}), 'rejected "unwanted"', 'it is rejected');

is(handle('large', map { "'large', to_jsonb(repeat('x', 1000000))" } 1 .. 40), 'large 17, large 17, large 6', 'no more than 16 MB, and one, in one call');

is(handle('stops', map { "'add', '$_'" } 1, '"last"', 3), 'add 3', 'stop() comes after all of them');
is(state_of('stops'), '[1, "last", 3]', 'which have been handled');
is(sql(q{SELECT state FROM actorstore.halted_actor WHERE actor_id = 'stops'}), 'stopped', 'and the actor is stopped');

is(sql(q{SELECT actorstore.ask('m', 'asked', 'ask', '"?"')}), 1, 'a question is one of one');
is(sql(q{SELECT actorstore.call('m', 'called', 'add', '7')}), '[7]', 'a call, too');

# A strict function is called as any other: with an array it always has its second argument.
sql(q{SELECT actorstore.put('total', 'a', '0'), actorstore.send_many('total', array_agg('a'::text), 'add', array_agg(to_jsonb(i))) FROM generate_series(1, 1000) AS i});
ok(handled($node, 'd', 'total'), 'many are handled');
is(sql(q{SELECT value FROM actorstore.get('total', 'a')}), 500500, 'and summed up');

# Hooks get an array of one as well.
sql(q{SELECT actorstore.set_handler('m', '$stop', 'take(jsonb, jsonb[])')});
is(handle('ends', q{'add', '"last"'}), 'add 1, $stop 1', 'as it stops');

# Set again with one body at a time, and back.
sql(q{CREATE FUNCTION take(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN coalesce(state, '[]') || body;
	SELECT actorstore.set_handler('m', '*', 'take(jsonb, jsonb)'), actorstore.send('m', 'again', 'add', '1')});
ok(handled($node, 'd', 'm'), 'by the other handler');
is(state_of('again'), '[1]', 'the body itself');
sql(q{SELECT actorstore.set_handler('m', '*', 'take(jsonb, jsonb[])'), actorstore.send('m', 'again', 'add', '2')});
ok(handled($node, 'd', 'm'), 'and by the first');
is(state_of('again'), '[1, 2]', 'an array of one');

$node->stop;
done_testing();
