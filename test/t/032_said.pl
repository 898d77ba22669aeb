# What a handler says of its message (reply, reject, retry_after, stop) is undone with the block that it was said in, as
# all else that it does there; in a worker, and in the session of who calls.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('said', settings => 'actorstore.workers = 1');
new_database_with_actors($node, 'd');

# A handler that takes steps: what to SELECT, or a block of steps, which is kept or undone.
$node->safe_psql('d', q{
	CREATE FUNCTION take(steps jsonb) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		step jsonb;
	BEGIN
		FOR step IN SELECT jsonb_array_elements(steps) LOOP
			IF jsonb_typeof(step) = 'string' THEN
				EXECUTE 'SELECT ' || (step #>> '{}');
				CONTINUE;
			END IF;
			BEGIN
				PERFORM take(coalesce(step -> 'kept', step -> 'undone'));
				IF step ? 'undone' THEN RAISE EXCEPTION 'undone' USING ERRCODE = 'ZZ001'; END IF;
			EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
			END;
		END LOOP;
	END $$;
	CREATE FUNCTION handle(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM take(body); RETURN '"state"'; END $$;
	SELECT actorstore.create_type('t', max_attempts => 1), actorstore.set_handler('t', 'm', 'handle(jsonb, jsonb)');
	CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		answer text;
	BEGIN
		EXECUTE statement INTO answer;
		RETURN coalesce(answer, 'NULL');
	EXCEPTION WHEN OTHERS THEN
		RETURN SQLSTATE || ' ' || SQLERRM;
	END $$});
my $session = ActorstoreTest::Session->new($node, 'd');
$session->query('SET client_min_messages = error');	# who replies twice is warned

sub kept { return '{"kept": [' . join(', ', @_) . ']}'; }
sub undone { return '{"undone": [' . join(', ', @_) . ']}'; }
sub say_it { my ($function, $with) = @_; return "\"actorstore.$function('$with')\""; }
sub replies { my ($n) = @_; return say_it('reply', $n); }
my ($rejects, $retries, $stops) = (say_it('reject', 'no'), say_it('retry_after', '2 s'), say_it('stop', 'enough'));

# Several messages to actors of their own, the answer to each.
my $n = 0;
sub answers
{
	my ($verb, @steps) = @_;
	return $session->query(sprintf q{SELECT attempt($a$SELECT actorstore.%s('t', '%s', 'm', $s$[%s]$s$)$a$)}, $verb, 'a' . $n++, join ', ', @steps);
}
sub says
{
	my ($name, $expected, @steps) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(answers($_, @steps), $expected, "$name, by $_") foreach qw(ask call);
	return;
}

# ---- reply ----

says('a reply', '1', replies(1));
says('in a block that is kept', '1', kept(replies(1)));
says('in a block that is undone', '"state"', undone(replies(1)));
says('the one before it is back', '1', replies(1), undone(replies(2)));
says('NULL is one, too', 'NULL', '"actorstore.reply(NULL)"', undone(replies(2)));
says('twice in it', '1', replies(1), undone(replies(2), replies(3)));
says('a block in a block', '"state"', undone(kept(replies(1))));
says('each of them', '"state"', undone(undone(replies(1)), replies(2)));
says('the inner one alone', '1', kept(replies(1), undone(replies(2))));
says('the inner one first', '1', kept(undone(replies(2)), replies(1)));
says('kept in what is undone', '1', replies(1), undone(kept(replies(2)), kept(replies(3)), replies(4)));
says('block after block', '3', kept(replies(1)), undone(replies(2)), kept(replies(3)), undone(replies(4)));
says('the others do not mind', '"state"', undone(replies(1)), undone('"1"'), kept('"1"'));

# ---- reject, retry_after ----

says('reject', 'P0001 no', $rejects);
says('reject, kept', 'P0001 no', kept($rejects));
says('reject, undone', '"state"', undone($rejects));
says('reject, undone, then a reply', '1', undone($rejects), replies(1));
says('of two reasons the first', 'P0001 no', $rejects, undone(say_it('reject', 'other')));
says('retry_after', '55000 the actor cannot handle the message now', $retries);
says('retry_after, undone', '"state"', undone($retries));
says('retry_after, not reject', '55000 the actor cannot handle the message now', $retries, undone($rejects));
says('reject, not retry_after', 'P0001 no', kept($rejects), undone($retries));

# ---- stop ----

sub halted { return $session->query(sprintf q{SELECT state, reason FROM actorstore.halted_actor WHERE actor_id = '%s'}, 'a' . ($n - 1)); }
foreach my $verb (qw(ask call))
{
	answers($verb, $stops);
	is(halted(), 'stopped|enough', "stop, by $verb");
	answers($verb, undone($stops));
	is(halted(), '', "stop, undone, by $verb");
	answers($verb, kept($stops), undone(say_it('stop', 'later')));
	is(halted(), 'stopped|enough', "of two the first, by $verb");
}

# ---- Who calls, and who is called ----

sub calls { my ($id, @steps) = @_; return '"actorstore.call(\'t\', \'' . $id . '\', \'m\', $x$[' . join(', ', map { s/"/\\"/gr } @steps) . ']$x$)"'; }
says('what is called says nothing for who calls', '1', replies(1), undone(calls('b', replies(2))));
says('and what it has said goes with it', '1', replies(1), undone(calls('b', replies(2)), replies(3)));
says('its blocks are its own', '1', kept(replies(1), calls('c', undone(replies(2)))));
is($session->query(q{BEGIN; SAVEPOINT s; SELECT actorstore.call('t', 'd', 'm', $$["actorstore.reply('1')"]$$); ROLLBACK TO s; SELECT actorstore.call('t', 'd', 'm', $$[]$$); COMMIT}), "1\n\"state\"", 'a savepoint around the call');

# ---- Mail ----

$node->safe_psql('d', sprintf q{SELECT actorstore.send('t', 'mail', 'm', $$[%s]$$), actorstore.send('t', 'mail', 'm', $$[%s]$$), actorstore.send('t', 'mail', 'm', $$[%s]$$), actorstore.send('t', 'mail', 'm', $$[%s]$$)},
	undone($rejects), undone($retries), kept($rejects), undone($stops));
ok(handled($node, 'd', 't'), 'all are handled');
is($node->safe_psql('d', q{SELECT body, reason, error FROM actorstore.dead_letter WHERE actor_id = 'mail'}), '[' . kept($rejects) . ']|rejected|no', 'but for the one that it has rejected');
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.halted_actor WHERE actor_id = 'mail'}), '0', 'and the actor goes on');

$session->quit;
$node->stop;
done_testing();
